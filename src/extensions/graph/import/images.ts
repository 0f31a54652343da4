import type * as tf from '@tensorflow/tfjs';
import {flagOf, inputsOf, numberOf, numbersOf, textOf} from '../graphDef';
import {asFirst, ofFirst, ofShape, pixels, product, sizeOf, VALUE, valuesOrNaN, windowsOf} from './bounds';
import {planConv2D, planConv2DTranspose, planDepthwise} from './convolutions';
import {type Bound, type LayerRule, type Operation, rowFor, type RowRule, type ShapeRule, type Work} from './operation';
import {KNOWN} from './openSizes';
import {byFirst, mixed} from './rowRules';

/** A convolution with explicit padding can enlarge an image. */
const convolved: Bound = ([x, filter], node) => pixels(x, node) * (filter?.shape.at(-1) ?? 1);

const depthwise: Bound = ([x, filter], node) => pixels(x, node) * product(filter?.shape.slice(-2) ?? []);

const pooled: Bound = ([x], node) => sizeOf(x) * windowsOf(node);

const convolving: Work = ([x, filter], node) => (pixels(x, node) * sizeOf(filter)) / VALUE;

/** A window is cut off where the image ends. */
const pooling: Work = ([x], node) => (sizeOf(x) * Math.min(product(numbersOf(node, 'ksize')), pixels(x, node))) / VALUE;

const padded: ShapeRule = ([x = []], values) => {
  const pads = values(1);
  return pads && x.map((size, axis) => size + (pads[2 * axis] ?? 0) + (pads[2 * axis + 1] ?? 0));
};

const resized: ShapeRule = ([x = []], values) => {
  const size = values(1);
  return size && [x[0] ?? 1, ...size, x[3] ?? 1];
};

const rowPads: RowRule = subject =>
  byFirst(subject) &&
  subject
    .numbers(1)
    ?.slice(0, 2)
    .every(size => size === 0) === true;

const batchNorm: LayerRule = (node, planner) => {
  const names = inputsOf(node);
  const [gamma, beta, mean, variance] = names.slice(1).map(name => planner.constant(name));
  const x = planner.floats(names[0]);
  const channelsLast = textOf(node, 'data_format', 'NHWC') === 'NHWC';
  if (!x || !gamma || !beta || !mean || !variance || flagOf(node, 'is_training') || !channelsLast) {
    return false;
  }
  const weight = (tensor: tf.Tensor, index: number) => ({tensor, source: {node: node.name, index}});
  planner.addLayer(node, {
    className: 'BatchNormalization',
    config: {axis: -1, epsilon: numberOf(node, 'epsilon', 1e-4)},
    inputs: [names[0] as string],
    weights: {
      gamma: weight(gamma, 1),
      beta: weight(beta, 2),
      moving_mean: weight(mean, 3),
      moving_variance: weight(variance, 4),
    },
  });
  return true;
};

/** A pool of channels-last images. */
function pool(className: string): LayerRule {
  return (node, planner) => {
    const padding = textOf(node, 'padding', 'VALID');
    const [x = ''] = inputsOf(node);
    const sizes = [numbersOf(node, 'ksize'), numbersOf(node, 'strides')];
    const onImages = sizes.every(([batch = 1, , , channels = 1]) => batch === 1 && channels === 1);
    const isSupported = textOf(node, 'data_format', 'NHWC') === 'NHWC' && ['SAME', 'VALID'].includes(padding);
    if (!planner.floats(x) || !isSupported || !onImages) {
      return false;
    }
    const [poolSize, strides] = sizes.map(list => list.slice(1, 3));
    planner.addLayer(node, {
      className,
      config: {poolSize: poolSize ?? [], strides: strides ?? [], padding: padding.toLowerCase()},
      inputs: [x],
    });
    return true;
  };
}

const pad: LayerRule = (node, planner) => {
  const [x = '', paddings, constant] = inputsOf(node);
  const pads = planner.numbers(paddings) ?? [];
  const value = constant === undefined ? 0 : planner.numbers(constant)?.[0];
  const [n0, n1, top = 0, bottom = 0, left = 0, right = 0, c0, c1] = pads;
  const onImages = pads.length === 8 && [n0, n1, c0, c1].every(size => size === 0);
  if (!planner.floats(x) || !onImages || value !== 0) {
    return false;
  }
  planner.addLayer(node, {
    className: 'ZeroPadding2D',
    config: {
      padding: [
        [top, bottom],
        [left, right],
      ],
    },
    inputs: [x],
  });
  return true;
};

/** A resize to a multiple of the size, as an `UpSampling2D`. */
function planResize(interpolation: string): LayerRule {
  return (node, planner) => {
    const [x = '', size] = inputsOf(node);
    const flow = planner.floats(x);
    const wanted = planner.numbersAt(size);
    if (!flow || !wanted || flagOf(node, 'align_corners') || flagOf(node, 'half_pixel_centers')) {
      return false;
    }
    const factors = [0, 1].map(axis => {
      const [current = KNOWN, target = KNOWN] = [flow.sizes[1 + axis], wanted.sizes[axis]];
      const {of, times, plus} = planner.open.lineOf(target);
      if (current === KNOWN) {
        return target === KNOWN ? (wanted.pair[0][axis] ?? 0) / (flow.shapes[0][1 + axis] ?? 1) : 0;
      }
      return of === current && plus === 0 ? times : 0;
    });
    if (factors.some(factor => !Number.isInteger(factor) || factor < 1)) {
      return false;
    }
    planner.addLayer(node, {className: 'UpSampling2D', config: {size: factors, interpolation}, inputs: [x]});
    return true;
  };
}

const image: Operation = {size: ofFirst, rows: byFirst};
const convolution: Operation = {size: convolved, rows: byFirst, work: convolving};
const depthwiseConvolution: Operation = {size: depthwise, rows: byFirst, work: convolving, layer: planDepthwise};
const pools: Operation = {...image, size: pooled, work: pooling};
const resizing: Operation = {size: ofShape(resized), rows: byFirst, shape: resized};
const padding: Operation = {size: ofShape(padded), rows: rowPads};

/** Operations on images and on volumes, and padding. */
export const IMAGES: Readonly<Record<string, Operation>> = {
  ...rowFor('Conv2D _FusedConv2D', {...convolution, layer: planConv2D}),
  Conv3D: convolution,
  Conv1D: {...convolution, rows: mixed},
  ...rowFor('DepthwiseConv2dNative FusedDepthwiseConv2dNative', depthwiseConvolution),
  DepthwiseConv2d: {size: depthwise, rows: mixed, work: convolving},
  Conv2DBackpropInput: {
    size: asFirst,
    rows: mixed,
    work: ([, filter, dy]) => (sizeOf(dy) * sizeOf(filter)) / Math.max(1, filter?.shape.at(-1) ?? 1) / VALUE,
    layer: planConv2DTranspose,
  },
  Dilation2D: {size: pooled, rows: mixed, work: convolving},
  MaxPool: {...pools, layer: pool('MaxPooling2D')},
  AvgPool: {...pools, layer: pool('AveragePooling2D')},
  ...rowFor('MaxPool3D AvgPool3D', pools),
  MaxPoolWithArgmax: {...pools, rows: mixed},
  ...rowFor('FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3', {...image, layer: batchNorm}),
  LRN: {
    ...image,
    work: ([x], node) => sizeOf(x) * Math.min(2 * numberOf(node, 'depth_radius', 5) + 1, x?.shape.at(-1) ?? 1),
  },
  ...rowFor('DepthToSpace SpaceToDepth', image),
  ResizeBilinear: {...resizing, layer: planResize('bilinear')},
  ResizeNearestNeighbor: {...resizing, layer: planResize('nearest')},
  CropAndResize: {
    size: ([x, boxes, , size]) => product(valuesOrNaN(size)) * (boxes?.shape[0] ?? 0) * (x?.shape[3] ?? 1),
    rows: mixed,
  },
  ImageProjectiveTransformV3: {
    size: ([x, , size]) => (x?.shape[0] ?? 0) * product(valuesOrNaN(size)) * (x?.shape[3] ?? 1),
    rows: mixed,
  },
  Pad: {...padding, layer: pad},
  PadV2: {...padding, shape: padded, layer: pad},
  MirrorPad: {...padding, shape: padded},
  SpaceToBatchND: {
    size: ([x, , paddings]) => {
      const pads = valuesOrNaN(paddings);
      return product(
        (x?.shape ?? []).map((size, i) => size + (i === 0 ? 0 : (pads[2 * i - 2] ?? 0) + (pads[2 * i - 1] ?? 0))),
      );
    },
    rows: mixed,
  },
  BatchToSpaceND: {size: ofFirst, rows: mixed},
};
