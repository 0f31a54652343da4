import {channelsFirst, type Source, type Tensor} from '../write/graphWriter';
import type {Write} from './call';

// Layers of features of `tfjs-lora/transformers`, `[batch, height, width, channels]`.

const maxPooling: Write = (out, call) => {
  const {size, stride, padding} = call.fields<Record<'size' | 'stride' | 'padding', number>>();
  const x = out.held(call.input, channelsFirst(4));
  const attributes = {
    kernel_shape: [size, size],
    strides: [stride, stride],
    pads: [padding, padding, padding, padding],
  };
  return call.output(out.node('MaxPool', [x], attributes), channelsFirst(4));
};

const responseNormalization: Write = (out, call) => {
  const {gamma, beta} = call.fields<{gamma: Source; beta: Source}>();
  const x = out.plain(call.input);
  const norms = out.reduce('ReduceL2', x, [1, 2], true);
  const mean = out.node('Add', [out.reduce('ReduceMean', norms, [3], true), out.float(1e-6)]);
  const scaled = out.node('Mul', [out.node('Div', [norms, mean]), out.weight('gamma', gamma)]);
  const y = out.node('Mul', [x, out.node('Add', [scaled, out.float(1)])]);
  return call.output(out.node('Add', [y, out.weight('beta', beta)]));
};

const featureSequence: Write = (out, call) => {
  const {mean} = call.fields<{mean: boolean}>();
  const positions = out.reshape(out.plain(call.input), [0, -1, call.input.shape[3] ?? 0]);
  const first = mean ? [out.reduce('ReduceMean', positions, [1], true)] : [];
  return call.output(mean ? out.node('Concat', [...first, positions], {axis: 1}) : positions);
};

const sequenceFeatures: Write = (out, call) => {
  const [sequence, like] = call.inputs as [Tensor, Tensor];
  const sizes = out.slice(out.node('Shape', [out.plain(like)]), 0, 0, 3);
  const shape = out.node('Concat', [sizes, out.ints([sequence.shape[2] ?? 0])], {axis: 0});
  return call.output(out.node('Reshape', [out.plain(sequence), shape]));
};

const resizedFeatures: Write = (out, call) => {
  const [features, like] = call.inputs as [Tensor, Tensor];
  const x = out.held(features, channelsFirst(4));
  const own = out.slice(out.node('Shape', [x]), 0, 0, 2);
  const wanted = out.slice(out.node('Shape', [out.plain(like)]), 0, 1, 3);
  const sizes = out.node('Concat', [own, wanted], {axis: 0});
  const attributes = {mode: 'linear', coordinate_transformation_mode: 'half_pixel'};
  return call.output(out.node('Resize', [x, '', '', sizes], attributes), channelsFirst(4));
};

export const FEATURE_LAYERS: Readonly<Record<string, Write>> = {
  MaxPooling: maxPooling,
  GlobalResponseNormalization: responseNormalization,
  FeatureSequence: featureSequence,
  SequenceFeatures: sequenceFeatures,
  ResizedFeatures: resizedFeatures,
};
