import type * as tf from '@tensorflow/tfjs';
import type {ConvSettings} from './geometry';

// Operations that a backend may compute in one launch, or in few.

/** Operations in one launch each. They return `undefined` for tensors that they do not take. */
export interface FusedOps {
  /** `c + scale·a·b` for a small rank: `[.., width] + [.., rank] · [rank, width]`, or `b` as `[width, rank]`. */
  addProduct?(c: tf.Tensor, a: tf.Tensor, b: tf.Tensor, scale: number, transposed: boolean): tf.Tensor;
  /** `x·m + t` or `x·m` along the last axis. */
  affine?(x: tf.Tensor, m: tf.Tensor, t: tf.Tensor | undefined): tf.Tensor | undefined;
  /** The gradient of an activation from its output: `dy · f'(x)` given `y = f(x)`. */
  activationGradient?(name: OutputActivationName, dy: tf.Tensor, y: tf.Tensor): tf.Tensor | undefined;
  /** The softmax along the last axis. */
  softmax?(x: tf.Tensor): tf.Tensor | undefined;
  /** Its gradient from its output `y`. */
  softmaxGradient?(dy: tf.Tensor, y: tf.Tensor): tf.Tensor | undefined;
}

/** The weights of `x·(W + s·A·B)`: `[.., in, out]`, `[.., in, rank]` and `[rank, out]`. */
export interface AdaptedWeights {
  readonly kernel: tf.Tensor;
  readonly a: tf.Tensor;
  readonly b: tf.Tensor;
  readonly scaling: number;
}

/** The epilogue of a product `z`: `min(max(z·m + t, 0), cap)`, with each part optional. */
export interface Epilogue extends Partial<Scaling> {
  readonly cap?: number | undefined;
}

/** `x·(W + s·A·B)` for rows `x`, with what follows it. The last bits are not those of the parts by themselves. */
export interface ProductPrograms {
  takes(rows: number, weights: Pick<AdaptedWeights, 'a' | 'b'>): boolean;
  /** `[.., in] → [.., out]`. */
  forward(x: tf.Tensor, weights: AdaptedWeights, epilogue: Epilogue): tf.Tensor;
  /** The gradients, for that of the result, which is needed itself with a cap alone. */
  backward(x: tf.Tensor, gradient: EpilogueGradient, weights: AdaptedWeights): AdaptedGradients;
}

/** A linear operation of a layer, with optional parts. */
export interface LinearCall {
  readonly kernel: tf.Tensor;
  readonly bias: tf.Tensor | null;
  readonly factors?: Omit<AdaptedWeights, 'kernel'> | null | undefined;
  readonly gain?: tf.Tensor | null | undefined;
  readonly dropped?: tf.Tensor | undefined;
  readonly defer?: Defer | undefined;
}

/** The inputs of the gradient of a recorded product. */
export type SavedProduct = Readonly<Record<'x' | 'kernel' | 'a' | 'b', tf.Tensor>>;

/** Such products in training steps. */
export interface AdaptedProduct extends ProductPrograms {
  /**
   * `f(x·(W + s·A·B) + b)` as one step of the tape; `undefined` for an operation that is no such product.
   *
   * @param backward the activation `f`, and the gradients of the product as operations that can be recorded.
   */
  recorded(
    x: tf.Tensor,
    call: LinearCall,
    backward: {
      activation: {
        apply: (z: tf.Tensor) => tf.Tensor;
        gradient: ((dy: tf.Tensor, y: tf.Tensor) => tf.Tensor) | null;
        cap?: number;
      };
      composed: (dz: tf.Tensor, saved: SavedProduct) => Record<string, () => tf.Tensor>;
    },
  ): tf.Tensor | undefined;
}

/** Gradients of a product. Unrequested ones are not computed. */
export interface AdaptedGradients {
  /** The gradient of the product before its epilogue. */
  readonly dz: tf.Tensor;
  readonly ofFactors: () => [a: tf.Tensor, b: tf.Tensor];
  readonly ofInput: () => tf.Tensor;
}

/** Activations whose gradients follow from their outputs. */
export type OutputActivationName = 'relu' | 'relu6' | 'sigmoid' | 'tanh';

/** A convolution of channels-last images, without dilation. */
export interface PlainConvolution extends Omit<ConvSettings, 'dilations'> {
  readonly x: tf.Tensor4D;
  /** `[kh, kw, in, out]`, or `[kh, kw, c, 1]` for a depthwise one. */
  readonly filter: tf.Tensor4D;
  readonly bias: tf.Tensor | null;
  readonly depthwise: boolean;
  /** A low-rank update of the filter, whose size is 1. */
  readonly update?: Omit<AdaptedWeights, 'kernel'> | undefined;
}

/** Scale and shift of the channels of a result, `[c]` each: a normalization by fixed statistics. */
export interface Scaling {
  readonly m: tf.Tensor;
  readonly t: tf.Tensor;
}

/** A convolution, a fixed normalization and a relu in one. The last bits are not those of the three. */
export interface FusedConvolution {
  /** Whether it is faster at this convolution than three separate operations. */
  takes(convolution: PlainConvolution): boolean;
  /** `(x ∗ W + b)·m + t`. */
  normalized(convolution: PlainConvolution, scaling: Scaling): tf.Tensor;
  /**
   * `y = min(max((x ∗ W + b)·m + t, 0), cap)`, and a bit for each value: whether it is strictly between the bounds.
   * Where some are NaN, a factor of each instead: 1, 0 or NaN. Without `masked`, the result itself instead of a bit.
   */
  rectified(convolution: PlainConvolution, scaling: Scaling, cap: number): [y: tf.Tensor, mask: tf.Tensor];
  /** `dy` where the bit is set, else 0; `dy` times the factors. */
  readonly masked?: (dy: tf.Tensor, mask: tf.Tensor) => tf.Tensor;
  /** Gradients through all of it, computed with what takes them. */
  readonly epilogues?: EpilogueGradients;
  /**
   * Has the backend itself compute tensors that are put off, when its kernels need them, if it takes longer to read and
   * upload them.
   *
   * @param compute returns `undefined` for tensors that it does not know, and gives up the others.
   */
  readonly handOver?: (compute: (dataId: tf.DataId) => Computed | undefined) => void;
}

/** A tensor computed for another one, and how many tensors share the values of that. */
export interface Computed {
  readonly y: tf.Tensor;
  readonly refCount: number;
}

/** The gradient `dy` of the result `y` of an epilogue, with only those parts that the epilogue has. */
export interface EpilogueGradient extends Pick<Epilogue, 'cap' | 'm'> {
  readonly dy: tf.Tensor;
  readonly y?: tf.Tensor;
}

/** Gradients of what an epilogue is given, in one launch. */
export interface EpilogueGradients {
  /** That gradient itself. */
  through(gradient: EpilogueGradient): tf.Tensor;
  /** The gradient in the input of a depthwise convolution before the epilogue; `undefined` for one it does not take. */
  depthwiseInput(
    gradient: EpilogueGradient,
    filter: tf.Tensor4D,
    inputShape: tf.Tensor4D['shape'],
    settings: Omit<ConvSettings, 'dilations'>,
  ): tf.Tensor | undefined;
}

/** Defers `x ∗ W + b`, with an update of a 1×1 filter, to compute it with the layers that follow, if possible. */
export interface Defer {
  (x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | null, update?: PlainConvolution['update']): tf.Tensor | undefined;
  /** What a gradient is that comes through these layers. */
  readonly epilogueGradient: (dy: tf.Tensor) => EpilogueGradient;
}
