import {nameOf} from '../net/architecture';
import type {ActivationName, Net, NetTensor} from '../net/net';

/** The names of the modules of a block. */
export interface BlockModules {
  attention: string;
  /** The projection after the attention. */
  attended: string;
  /** The normalizations of the two parts. In a parallel block they may be the same. */
  norms: readonly [attention: string, feedForward: string];
  /** What holds the feed-forward part, `''` for the block itself. */
  feedForward: string;
  wide: string;
  activation: string;
  narrow: string;
}

/** A block of attention and two dense layers, with layer normalizations. */
export interface PlainBlock {
  modules: BlockModules;
  width: number;
  inner: number;
  epsilon: number;
  activation: ActivationName;
  /** Whether parts are normalized before or after them. `parallel` parts both have the block's input. */
  order: 'before' | 'after' | 'parallel';
  /** How the dense layers are stored, and the one after the attention, if it differs. */
  stored?: {bias?: boolean; conv1d?: boolean};
  storedAttended?: {bias: boolean};
  /** The attention without the projection after it. */
  attend: (x: NetTensor) => NetTensor;
  /** The width of the attention's output. Default: `width`. */
  attendedWidth?: number;
  /** The feed-forward part. Default: two dense layers and an activation between them. */
  feed?: (x: NetTensor) => NetTensor;
  /** What becomes of the output of a part, such as a layer scale. `normal` is the part's input. */
  behind?: (part: 0 | 1, x: NetTensor, normal: NetTensor) => NetTensor;
}

/** Adds a block of attention and a feed-forward part. */
export function plainBlock(
  net: Net,
  layer: string,
  {modules, width, inner, epsilon, activation, order, stored = {}, attend, behind = (_, x) => x, ...args}: PlainBlock,
  input: NetTensor,
): NetTensor {
  const {attendedWidth = width, storedAttended = stored, feed} = args;
  const at = (name: string) => nameOf(layer, name);
  const [ofAttention, ofFeedForward] = modules.norms;
  const norm = (name: string, inputs: NetTensor[]) => net.layerNorm(at(name), width, epsilon, inputs);
  const fed = (x: NetTensor) => {
    if (feed !== undefined) {
      return behind(1, feed(x), x);
    }
    const wide = net.dense(at(modules.wide), [width, inner], x, stored);
    const active = net.activation(at(modules.activation), activation, wide);
    return behind(1, net.dense(at(modules.narrow), [inner, width], active, stored), x);
  };
  const first = order === 'after' ? input : norm(ofAttention, [input]);
  const projected = net.dense(at(modules.attended), [attendedWidth, width], attend(first), storedAttended);
  const attended = behind(0, projected, first);
  if (order === 'after') {
    const middle = norm(ofAttention, [attended, input]);
    return norm(ofFeedForward, [fed(middle), middle]);
  }
  const middle = net.add(nameOf(at(modules.attention), 'sum'), [input, attended]);
  const source = order === 'parallel' ? input : middle;
  const second = ofFeedForward === ofAttention ? first : norm(ofFeedForward, [source]);
  return net.add(nameOf(at(modules.feedForward), 'sum'), [middle, fed(second)]);
}
