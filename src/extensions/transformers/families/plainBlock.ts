import {nameOf} from '../net/architecture';
import type {ActivationName, Net, NetTensor} from '../net/net';

/** A block of attention and two dense layers, with layer normalizations. */
export interface PlainBlock {
  /** The names of its modules. */
  modules: {
    attention: string;
    /** The projection after the attention. */
    attended: string;
    /** The normalizations of the two parts. In a parallel block they may be the same. */
    norms: readonly [attention: string, feedForward: string];
    feedForward: string;
    wide: string;
    activation: string;
    narrow: string;
  };
  width: number;
  inner: number;
  epsilon: number;
  activation: ActivationName;
  /** Whether parts are normalized before or after them. `parallel` parts both have the block's input. */
  order: 'before' | 'after' | 'parallel';
  /** How the dense layers are stored, and the one after the attention, if it differs. */
  stored: {bias?: boolean; conv1d?: boolean};
  storedAttended?: {bias: boolean};
  /** The attention without the projection after it. */
  attend: (x: NetTensor) => NetTensor;
}

/** Adds a block of GPT-2, OPT, GPT-NeoX or Phi. */
export function plainBlock(
  net: Net,
  layer: string,
  {modules, width, inner, epsilon, activation, order, stored, storedAttended, attend}: PlainBlock,
  input: NetTensor,
): NetTensor {
  const at = (name: string) => nameOf(layer, name);
  const [ofAttention, ofFeedForward] = modules.norms;
  const norm = (name: string, inputs: NetTensor[]) => net.layerNorm(at(name), width, epsilon, inputs);
  const fed = (x: NetTensor) => {
    const wide = net.dense(at(modules.wide), [width, inner], x, stored);
    const active = net.activation(at(modules.activation), activation, wide);
    return net.dense(at(modules.narrow), [inner, width], active, stored);
  };
  const first = order === 'after' ? input : norm(ofAttention, [input]);
  const attended = net.dense(at(modules.attended), [width, width], attend(first), storedAttended ?? stored);
  if (order === 'after') {
    const middle = norm(ofAttention, [attended, input]);
    return norm(ofFeedForward, [fed(middle), middle]);
  }
  const middle = net.add(nameOf(at(modules.attention), 'sum'), [input, attended]);
  const source = order === 'parallel' ? input : middle;
  const second = ofFeedForward === ofAttention ? first : norm(ofFeedForward, [source]);
  return net.add(nameOf(at(modules.feedForward), 'sum'), [middle, fed(second)]);
}
