import {reshape, sizeOf, toTorch, type Values} from '../../../platform/formats/layout';
import type {LoRAStrength} from '../../methods/method';
import {withRank} from '../../methods/lora';
import {fromTorch, identity, multiply} from './torchLayout';

/** A low-rank update as PEFT stores it. */
export interface TorchUpdate {
  /** Whether it is of an embedding: `lora_embedding_A` instead of `lora_A.weight`. */
  embedding: boolean;
  /** `[rank, in, ...space]`. */
  a: Values;
  /** `[out, rank, ...ones]`; of a grouped convolution `[out, rank / groups, ...ones]`. */
  b: Values;
  /** The bias of `B` (`lora_bias`). */
  bias?: Values;
  /** `[out]`, of a convolution `[1, out, ...ones]` (DoRA). */
  magnitude?: Values;
  strength: Required<LoRAStrength>;
}

/** The factors of an update in the order of tfjs: `A`: `[...space, in, rank]`, `B`: `[rank, out]`, and its strength. */
export interface TfjsUpdate {
  a: Values;
  b: Values;
  strength: Required<LoRAStrength>;
}

/**
 * An update in the order of tfjs. PEFT gives a grouped convolution an `A` that reads all channels and a `B` in one
 * piece for each group; together they are an update of the kernel of a full convolution.
 */
export function fromTorchUpdate({a, b, strength}: TorchUpdate): TfjsUpdate {
  const [rank = 1] = a.shape;
  const [out = 1, rankPerGroup = 1] = b.shape;
  const pieces = fromTorch(reshape(b, [out, rankPerGroup])); // [rank / groups, out]
  const groups = rank / rankPerGroup;
  if (groups === 1) {
    return {a: fromTorch(a), b: pieces, strength};
  }
  const blockDiagonal = new Float32Array(rank * out);
  const outPerGroup = out / groups;
  for (let row = 0; row < rank; row++) {
    const group = Math.floor(row / rankPerGroup);
    const from = (row % rankPerGroup) * out + group * outPerGroup;
    blockDiagonal.set(pieces.data.subarray(from, from + outPerGroup), row * out + group * outPerGroup);
  }
  return {a: fromTorch(a), b: {shape: [rank, out], data: blockDiagonal}, strength};
}

/** An update in PyTorch's order, for a weight with `axes` axes. Undoes `fromTorchUpdate`, but for groups. */
export function toTorchUpdate({a, b}: Pick<TfjsUpdate, 'a' | 'b'>): Pick<TorchUpdate, 'a' | 'b'> {
  const transposed = toTorch(b); // [out, rank]
  return {a: toTorch(a), b: reshape(transposed, [...transposed.shape, ...a.shape.slice(2).map(() => 1)])};
}

/**
 * The update with a rank of at most min(fan-in, fan-out), which is all that a weight can hold: `A·B` is `(A·B)·I`, or
 * `I·(A·B)`. The result and the scaling stay the same.
 */
export function withinRankLimit(update: TfjsUpdate): TfjsUpdate {
  const {a, b, strength} = update;
  const [rank = 1, ...outAxes] = b.shape;
  const space = a.shape.slice(0, -1);
  const [fanIn, fanOut] = [sizeOf(space), sizeOf(outAxes)];
  const limit = Math.min(fanIn, fanOut);
  if (rank <= limit) {
    return update;
  }
  const product = multiply(a.data, b.data, [fanIn, rank, fanOut]);
  return {
    a: {shape: [...space, limit], data: fanOut <= fanIn ? product : identity(fanIn)},
    b: {shape: [limit, ...outAxes], data: fanOut <= fanIn ? identity(fanOut) : product},
    strength: withRank(strength, limit),
  };
}

/**
 * An update of the kernel of a full convolution, `A`: `[kh, kw, in, rank]`, as one of a depthwise kernel
 * `[kh, kw, in, multiplier]`, `A`: `[kh, kw, rank]`, `B`: `[rank, in, multiplier]`. `undefined` if it mixes channels,
 * which no depthwise kernel does.
 */
export function asDepthwise({a, b, strength}: TfjsUpdate): TfjsUpdate | undefined {
  const [kh = 1, kw = 1, channels = 1, rank = 1] = a.shape;
  const [, out = 1] = b.shape;
  const multiplier = out / channels;
  if (a.shape.length !== 4 || !Number.isInteger(multiplier)) {
    return undefined;
  }
  // The outputs that each factor reaches: those of one channel, if none are mixed.
  const kernel = new Float32Array(kh * kw * out);
  for (let place = 0; place < kh * kw; place++) {
    for (let output = 0; output < out; output++) {
      const outputChannel = Math.floor(output / multiplier);
      let sum = 0;
      for (let k = 0; k < rank; k++) {
        const weight = b.data[k * out + output] ?? 0;
        for (let channel = 0; weight !== 0 && channel < channels; channel++) {
          const value = a.data[(place * channels + channel) * rank + k] ?? 0;
          if (channel === outputChannel) {
            sum += value * weight;
          } else if (value !== 0) {
            return undefined;
          }
        }
      }
      kernel[place * out + output] = sum;
    }
  }
  // kernel is [kh·kw, out]: as its own product with the identity it is an update of the rank that it can hold.
  const limit = Math.min(kh * kw, out);
  return {
    a: {shape: [kh, kw, limit], data: out <= kh * kw ? kernel : identity(kh * kw)},
    b: {shape: [limit, channels, multiplier], data: out <= kh * kw ? identity(out) : kernel},
    strength: withRank(strength, limit),
  };
}

/**
 * An update of a depthwise kernel, as PEFT stores that of a grouped convolution with as many groups as channels: a rank
 * for each group, which reads the one channel of it.
 */
export function depthwiseUpdateToTorch({a, b, strength}: TfjsUpdate): TorchUpdate {
  const [kh = 1, kw = 1, rank = 1] = a.shape;
  const [, channels = 1, multiplier = 1] = b.shape;
  const out = channels * multiplier;
  // Per channel the kernel is [kh·kw, multiplier], of the multiplier's rank at most: a product, or its factors.
  const groupRank = Math.min(rank, multiplier);
  const left = groupRank === rank ? undefined : multiply(a.data, b.data, [kh * kw, rank, out]); // [kh·kw, out]
  const torchA = new Float32Array(channels * groupRank * channels * kh * kw);
  const torchB = new Float32Array(out * groupRank);
  for (let channel = 0; channel < channels; channel++) {
    for (let k = 0; k < groupRank; k++) {
      const start = ((channel * groupRank + k) * channels + channel) * kh * kw;
      for (let place = 0; place < kh * kw; place++) {
        torchA[start + place] =
          (left === undefined ? a.data[place * rank + k] : left[place * out + channel * multiplier + k]) ?? 0;
      }
      for (let j = 0; j < multiplier; j++) {
        const output = channel * multiplier + j;
        torchB[output * groupRank + k] = left === undefined ? (b.data[k * out + output] ?? 0) : j === k ? 1 : 0;
      }
    }
  }
  const newRank = channels * groupRank;
  return {
    embedding: false,
    a: {shape: [newRank, channels, kh, kw], data: torchA},
    b: {shape: [out, groupRank, 1, 1], data: torchB},
    strength: withRank(strength, newRank),
  };
}
