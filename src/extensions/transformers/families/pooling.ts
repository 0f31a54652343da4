import type {Purpose} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {Net, NetTensor} from '../net/net';

/**
 * The states of a model without a pooler, or their pooling.
 *
 * @param lack the sentence of a fault that says that there is no pooler.
 */
export function pooledStates(
  net: Net,
  config: HubConfig,
  pooling: Purpose['pooling'],
  [states, mask]: [states: NetTensor, mask: NetTensor],
  lack = 'There is no pooler in the model.',
): NetTensor {
  if (pooling === 'pooler') {
    config.fault(`${lack} Choose another pooling: 'mean', 'first' or 'last'.`);
    return states;
  }
  return pooling === 'none' ? states : net.pool('pooling', pooling, [states, mask]);
}
