import type {Purpose} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {Net, NetTensor} from '../net/net';

/**
 * The states of a model for texts, or their pooling.
 *
 * @param pooler adds the pooler, or is the sentence of a fault that says that there is none.
 */
export function pooledStates(
  net: Net,
  config: HubConfig,
  pooling: Purpose['pooling'],
  [states, mask]: [states: NetTensor, mask: NetTensor],
  pooler: string | (() => NetTensor) = 'There is no pooler in the model.',
): NetTensor {
  if (pooling !== 'pooler') {
    return pooling === 'none' ? states : net.pool('pooling', pooling, [states, mask]);
  }
  if (typeof pooler !== 'string') {
    return pooler();
  }
  config.fault(`${pooler} Choose another pooling: 'mean', 'first' or 'last'.`);
  return states;
}
