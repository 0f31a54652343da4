import * as tf from '@tensorflow/tfjs';
import {onBackend} from '../../../backends/shared/lifecycle';
import {type OwnKernel, registerGradients, registerKernels} from '../../../backends/shared/registration';
import {type Alignment, bilinear, nearest, resizeGradient} from '../../../backends/shared/resizing';
import {gradientOf} from '../../../platform/tfjs/engine';
import {addNKernel} from './addNKernel';
import {cropAndResizeGradient} from './cropAndResize';
import {cumprodGradient, cumsumGradient, cumulativeKernels} from './cumulative';
import {einsumGradient, einsumKernel} from './einsum';
import {floorDivKernel} from './floorDivKernel';
import {withBatchedGather} from './gather';
import {integerKernels} from './integerKernels';
import {stridedSliceGradient, stridedSliceKernel} from './stridedSlice';
import {vectorKernels} from './vectorKernels';

// Gradients of graph ops that tfjs lacks or computes wrongly. All are exact.

type Config = tf.GradConfig;

/** Scatters the gradient to where the values were gathered from, and sums it for repeated indices. */
const gatherNd: Config = {
  kernelName: tf.GatherNd,
  inputsToSave: ['params', 'indices'],
  gradFunc: (dy, saved) => {
    const [params, indices] = saved as [tf.Tensor, tf.Tensor];
    return {
      params: () => tf.scatterND(indices, dy as tf.Tensor, params.shape),
      indices: () => tf.zeros(indices.shape),
    };
  },
};

const scatterNd: Config = {
  kernelName: tf.ScatterNd,
  inputsToSave: ['indices'],
  gradFunc: (dy, saved) => {
    const [indices] = saved as [tf.Tensor];
    return {updates: () => tf.gatherND(dy as tf.Tensor, indices), indices: () => tf.zeros(indices.shape)};
  },
};

const sparseToDense: Config = {
  kernelName: tf.SparseToDense,
  inputsToSave: ['sparseIndices', 'sparseValues'],
  gradFunc: (dy, saved) => {
    const [indices, values] = saved as [tf.Tensor, tf.Tensor];
    const places = () => (indices.rank < 2 ? tf.reshape(indices, [indices.size, 1]) : indices);
    const taken = () => tf.gatherND(dy as tf.Tensor, places());
    return {
      sparseIndices: () => tf.zeros(indices.shape),
      sparseValues: () => tf.tidy(() => sumTo(taken(), values.shape)),
      defaultValue: () => tf.tidy(() => tf.sub(tf.sum(dy as tf.Tensor), tf.sum(taken()))),
    };
  },
};

const tensorScatterUpdate: Config = {
  kernelName: tf.TensorScatterUpdate,
  inputsToSave: ['indices', 'updates'],
  gradFunc: (dy, saved) => {
    const [indices, updates] = saved as [tf.Tensor, tf.Tensor];
    const {shape} = dy as tf.Tensor;
    const unchanged = () => tf.equal(tf.scatterND(indices, tf.onesLike(updates), shape), 0);
    return {
      tensor: () => tf.tidy(() => tf.mul(dy as tf.Tensor, tf.cast(unchanged(), 'float32'))),
      indices: () => tf.zeros(indices.shape),
      updates: () => tf.gatherND(dy as tf.Tensor, indices),
    };
  },
};

/** Scatters the gradient of each of the largest entries to its index. */
const topK: Config = {
  kernelName: tf.TopK,
  inputsToSave: ['x'],
  outputsToSave: [false, true],
  gradFunc: (dys, saved) => {
    const [x, indices] = saved as [tf.Tensor, tf.Tensor];
    const [dy] = dys as [tf.Tensor];
    const spread = () => {
      const width = x.shape.at(-1) ?? 1;
      const rows = x.size / width;
      const starts = tf.mul(tf.range(0, rows, 1, 'int32'), tf.scalar(width, 'int32'));
      const places = tf.add(tf.reshape(indices, [rows, -1]), tf.reshape(starts, [rows, 1]));
      const flat = tf.scatterND(tf.reshape(tf.cast(places, 'int32'), [-1, 1]), tf.reshape(dy, [-1]), [x.size]);
      return tf.reshape(flat, x.shape);
    };
    return {x: () => tf.tidy(spread)};
  },
};

/** Sums the gradients of the copies, one axis after another, so that no rank is too high for a backend. */
const tileGradient: Config = {
  kernelName: tf.Tile,
  inputsToSave: ['x'],
  gradFunc: (dy, saved, attrs) => {
    const [{shape}] = saved as [tf.Tensor];
    const {reps} = attrs as unknown as tf.TileAttrs;
    const fold = (gradient: tf.Tensor, copies: number, axis: number) => {
      const before = tf.util.sizeFromShape(shape.slice(0, axis));
      const after =
        (shape[axis] ?? 1) * tf.util.sizeFromShape(reps.slice(axis + 1)) * tf.util.sizeFromShape(shape.slice(axis + 1));
      return copies === 1 ? gradient : tf.sum(tf.reshape(gradient, [before, copies, after]), 1);
    };
    return {x: () => tf.tidy(() => tf.reshape(reps.reduce(fold, dy as tf.Tensor), shape))};
  },
};

/** Comparisons have no gradient, but tfjs needs one inside composed ops: `divNoNan` selects by Equal. */
function constantIn(kernelName: string, names: readonly string[]): Config {
  return {
    kernelName,
    inputsToSave: [...names],
    gradFunc: (_dy, saved) =>
      Object.fromEntries(names.map((name, i) => [name, () => tf.zeros((saved[i] as tf.Tensor).shape)])),
  };
}

const MISSING: readonly Config[] = [
  gatherNd,
  scatterNd,
  sparseToDense,
  tensorScatterUpdate,
  topK,
  stridedSliceGradient,
  einsumGradient,
  cumprodGradient,
  cropAndResizeGradient,
  constantIn(tf.LogicalNot, ['x']),
  ...[tf.Equal, tf.NotEqual, tf.Greater, tf.Less, tf.LessEqual, tf.LogicalAnd, tf.LogicalOr].map(name =>
    constantIn(name, ['a', 'b']),
  ),
];

/** Sums the gradient of an op over the axes along which its operands were broadcast. */
function broadcast(stock: Config): Config {
  return {
    ...stock,
    gradFunc: (dy, saved, attrs) => {
      const [a, b] = saved as [tf.Tensor, tf.Tensor];
      const gradients = stock.gradFunc(dy, saved, attrs);
      return {
        a: () => tf.tidy(() => sumTo(gradients.a?.() as tf.Tensor, a.shape)),
        b: () => tf.tidy(() => sumTo(gradients.b?.() as tf.Tensor, b.shape)),
      };
    },
  };
}

/** tfjs's own gradient ignores the mirrored entries. */
function mirrorPad(stock: Config): Config {
  return {
    ...stock,
    gradFunc: (dy, _, attrs) => {
      const {paddings, mode} = attrs as unknown as {paddings: [number, number][]; mode: 'reflect' | 'symmetric'};
      const fold = () =>
        paddings.reduce(
          (folded, [before, after], axis) => unmirror(folded, axis, {before, after, skips: mode === 'reflect' ? 1 : 0}),
          dy as tf.Tensor,
        );
      return {x: () => tf.tidy(fold)};
    },
  };
}

/** Adds the mirrored entries before and after an axis to their sources. */
function unmirror(
  x: tf.Tensor,
  axis: number,
  {before, after, skips}: {before: number; after: number; skips: 0 | 1},
): tf.Tensor {
  const length = (x.shape[axis] ?? 0) - before - after;
  const piece = (start: number, count: number) =>
    tf.slice(
      x,
      x.shape.map((_, i) => (i === axis ? start : 0)),
      x.shape.map((size, i) => (i === axis ? count : size)),
    );
  const placed = (strip: tf.Tensor, start: number) =>
    tf.pad(
      tf.reverse(strip, axis),
      x.shape.map((_, i) => (i === axis ? [start, length - start - (strip.shape[axis] ?? 0)] : [0, 0])),
    );
  const terms = [piece(before, length)];
  if (before > 0) {
    terms.push(placed(piece(0, before), skips));
  }
  if (after > 0) {
    terms.push(placed(piece(before + length, after), length - after - skips));
  }
  return tf.addN(terms);
}

/** The gradient of a resize. */
function resize(parts: typeof bilinear): (stock: Config) => Config {
  return stock => ({
    ...stock,
    gradFunc: (dy, saved, attrs) => {
      const alignment = attrs as unknown as Alignment;
      const [images] = saved as [tf.Tensor];
      // On wasm the gradient of nearest-neighbor is zero if corners are aligned and an image has one row or column.
      return alignment.halfPixelCenters || (alignment.alignCorners && parts === nearest)
        ? {images: () => resizeGradient(dy as tf.Tensor, images.shape, parts, alignment)}
        : stock.gradFunc(dy, saved, attrs);
    },
  });
}

/** A window that reaches beyond the image averages fewer pixels. */
function averagePool(stock: Config): Config {
  return {
    ...stock,
    gradFunc: (dy, saved, attrs) => {
      const [x] = saved as [tf.Tensor];
      return {
        x: () =>
          tf.tidy(() => {
            const shares = shareOfWindows(x.shape, attrs);
            const scaled = shares === undefined ? dy : tf.mul(dy as tf.Tensor, shares);
            return stock.gradFunc(scaled, saved, attrs).x?.() as tf.Tensor;
          }),
      };
    },
  };
}

const CORRECTED: Readonly<Record<string, (stock: Config) => Config>> = {
  [tf.BatchMatMul]: broadcast,
  [tf.SquaredDifference]: broadcast,
  [tf.Maximum]: broadcast,
  [tf.Minimum]: broadcast,
  [tf.MirrorPad]: mirrorPad,
  [tf.Cumsum]: () => cumsumGradient,
  [tf.GatherV2]: withBatchedGather,
  [tf.Prod]: prod,
  [tf.Unpack]: pieces,
  [tf.SplitV]: pieces,
  [tf.Tile]: () => tileGradient,
  [tf.AvgPool]: averagePool,
  [tf.ResizeBilinear]: resize(bilinear),
  [tf.ResizeNearestNeighbor]: resize(nearest),
};

/** tfjs does not support negative axes. */
function prod(stock: Config): Config {
  return {
    ...stock,
    gradFunc: (dy, saved, attrs) => {
      const [x] = saved as [tf.Tensor];
      const axis = tf.util.parseAxisParam(attrs.axis as number | number[], x.shape);
      return stock.gradFunc(dy, saved, {...attrs, axis});
    },
  };
}

/** tfjs returns the gradient of a single piece not as a list. */
function pieces(stock: Config): Config {
  return {...stock, gradFunc: (dy, saved, attrs) => stock.gradFunc([dy].flat() as never, saved, attrs)};
}

/** Sums a gradient over the axes along which its tensor was broadcast. */
function sumTo(gradient: tf.Tensor, shape: number[]): tf.Tensor {
  const lead = gradient.rank - shape.length;
  const axes = gradient.shape.flatMap((size, i) => (i < lead || (shape[i - lead] === 1 && size !== 1) ? [i] : []));
  return tf.reshape(axes.length === 0 ? gradient : tf.sum(gradient, axes), shape);
}

/** Marks a gradient as ours, so that two copies of the library in a process do not wrap each other's. */
const BRAND = Symbol.for('tfjs-lora.gradient');

/** Kernels of graph ops that backends lack or compute wrongly. */
const KERNELS: ReadonlyMap<string, readonly OwnKernel[]> = new Map([
  ['cpu', [stridedSliceKernel, einsumKernel('cpu')]],
  ['wasm', [stridedSliceKernel, einsumKernel('wasm')]],
  ['webgl', [stridedSliceKernel, einsumKernel('webgl'), floorDivKernel]],
  ['webgpu', [stridedSliceKernel, einsumKernel('webgpu'), addNKernel, ...integerKernels, ...vectorKernels]],
]);

/** Registers the gradients and the kernels that graphs need, once in a process. */
export function registerGraphGradients(): void {
  onBackend(name => {
    registerKernels(name, [...cumulativeKernels, ...(KERNELS.get(name) ?? [])]);
  });
  if (BRAND in (gradientOf(tf.BatchMatMul) ?? {})) {
    return;
  }
  registerGradients(MISSING);
  for (const [name, correct] of Object.entries(CORRECTED)) {
    const stock = gradientOf(name);
    if (stock !== undefined) {
      tf.registerGradient({...correct(stock), [BRAND]: true} as Config);
    }
  }
}

/**
 * Factors for the gradient of an average pool, one for each output, `[1, h, w, 1]`. tfjs divides the gradient by the
 * size of the whole window, even if part of the window is outside the image and the average is over the rest.
 * `undefined` if all windows are inside.
 */
function shareOfWindows(inputShape: readonly number[], attrs: tf.NamedAttrMap): tf.Tensor4D | undefined {
  const {filterSize, strides, pad, dimRoundingMode} = attrs as unknown as tf.AvgPoolAttrs;
  const shape = inputShape as [number, number, number, number];
  const info = tf.backend_util.computePool2DInfo(shape, filterSize, strides, 1, pad, dimRoundingMode);
  const rows = counts(info.outHeight, info.strideHeight, info.padInfo.top, info.filterHeight, info.inHeight);
  const columns = counts(info.outWidth, info.strideWidth, info.padInfo.left, info.filterWidth, info.inWidth);
  const windowArea = info.filterHeight * info.filterWidth;
  const shares = rows.flatMap(height => columns.map(width => windowArea / Math.max(1, height * width)));
  return shares.every(share => share === 1) ? undefined : tf.tensor4d(shares, [1, info.outHeight, info.outWidth, 1]);
}

/** How many pixels of the image each window covers along an axis. */
function counts(windows: number, stride: number, before: number, size: number, length: number): number[] {
  return Array.from({length: windows}, (_, i) => {
    const start = i * stride - before;
    return Math.min(start + size, length) - Math.max(start, 0);
  });
}
