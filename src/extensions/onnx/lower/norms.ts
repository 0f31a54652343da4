import {sizeOf} from '../../../platform/formats/layout';
import type {Rule} from './activations';
import {positionsBelow} from './indices';
import {channelsLast, range} from './lowering';
import {attribute, type OnnxCall} from './onnxCall';

/** The BatchNormalization layer of tfjs takes tensors of at most this rank. */
const MAX_NORMALIZED_AXES = 4;

/** Batch normalization with the moving statistics of the file. */
export const batchNorm: Rule = async call => {
  if (call.int('spatial', 1) !== 1) {
    call.refuse('The node normalizes each position by itself.');
  }
  if (call.int('training_mode', 0) === 1 || call.proto.outputs.filter(name => name !== '').length > 1) {
    call.refuse('The node is in training.');
  }
  call.floats();
  const names = ['gamma', 'beta', 'moving_mean', 'moving_variance'];
  const weights = names.map((name, i) => {
    return [
      name,
      call.lowering.weight(call.node.name, 1 + i) ?? call.refuse(`The node needs a constant input ${1 + i}.`),
    ] as const;
  });
  const perm = channelsLast(call.rank());
  const config = {axis: -1, epsilon: call.float('epsilon', 1e-5)};
  const x = await call.inputIn(0, perm);
  const layer = (input: string) => call.layer('BatchNormalization', config, [input], Object.fromEntries(weights));
  if (perm.length <= MAX_NORMALIZED_AXES) {
    call.setOutput(layer(x), perm);
    return;
  }
  const sizes = await call.sizeEntries(perm);
  const positions = sizes.slice(1, -1);
  const isKnown = positions.every(size => typeof size === 'number');
  const flat = [sizes[0] ?? 1, isKnown ? sizeOf(positions) : -1, sizes.at(-1) ?? 1];
  const rows = isKnown ? await call.reshaped(x, flat) : await call.emit('Reshape', [x, await call.vector(flat)]);
  call.setOutput(await call.reshaped(layer(rows), sizes), perm);
};

/** Layer normalization: over the last axis as a layer, over several axes as operations. */
export const layerNorm: Rule = async call => {
  if (call.planner.keysOf(call.node).length > 1) {
    call.refuse('The node returns its mean and deviation.');
  }
  const axis = call.axis(call.int('axis', -1));
  call.floats();
  call.setOutput(
    await layerNormOf(call, await call.input(), {axis, epsilon: call.float('epsilon', 1e-5), inputs: [1, 2]}),
  );
};

/** @param inputs the indices of gamma and beta. */
async function layerNormOf(
  call: OnnxCall,
  x: string,
  {axis, epsilon, inputs: [g, b]}: {axis: number; epsilon: number; inputs: readonly [number, number]},
): Promise<string> {
  const rank = call.rankOf(x);
  const gamma = call.lowering.weight(call.node.name, g);
  const beta = call.has(b) ? call.lowering.weight(call.node.name, b) : undefined;
  // The LayerNormalization layer of tfjs takes tensors of at most four axes.
  const isRow =
    axis === rank - 1 && rank < 5 && call.rank(g) === 1 && (!call.has(b) || (beta !== undefined && call.rank(b) === 1));
  if (isRow && gamma !== undefined) {
    return call.layer('LayerNormalization', {axis: -1, epsilon, center: beta !== undefined}, [x], {gamma, beta});
  }
  const normal = await standardize(call, x, range(rank).slice(axis), epsilon);
  const scaled = await call.emit('Mul', [normal, await call.input(g)]);
  return call.has(b) ? call.emit('AddV2', [scaled, await call.input(b)]) : scaled;
}

/** The normalization of `input + skip (+ bias)`, of com.microsoft. The fourth output is the sum. */
export function skipNorm(isRms: boolean): Rule {
  return async call => {
    const [gamma, beta, bias] = isRms ? [2, -1, 3] : [2, 3, 4];
    const keys = call.planner.keysOf(call.node);
    let sum = await call.emit('AddV2', [await call.input(0), await call.input(1)]);
    if (call.has(bias)) {
      sum = await call.emit('AddV2', [sum, await call.input(bias)]);
    }
    const [axis, epsilon] = [call.rank() - 1, call.float('epsilon', isRms ? 1e-5 : 1e-12)];
    const norm = isRms
      ? await rmsNormOf(call, sum, {axes: [axis], epsilon, gamma})
      : await layerNormOf(call, sum, {axis, epsilon, inputs: [gamma, beta]});
    call.setOutput(norm);
    if (keys.length > 3) {
      call.lowering.setOutput(call.node.name, 3, sum);
    }
  };
}

/** EmbedLayerNormalization: the normalized sum of token, position and segment embeddings. */
export const embedNorm: Rule = async call => {
  const positions = call.has(8) ? await call.input(8) : await positionsBelow(call, await call.sizeEntry(0, 1));
  const lookUp = async (table: number, rows: string) =>
    call.emit('GatherV2', [
      call.lowering.weight(call.node.name, table) ?? (await call.input(table)),
      rows,
      call.scalar(0, 'int32'),
    ]);
  let sum = await call.emit('AddV2', [await lookUp(2, await call.input(0)), await lookUp(3, positions)]);
  if (call.has(1)) {
    sum = await call.emit('AddV2', [sum, await lookUp(4, await call.input(1))]);
  }
  const epsilon = call.float('epsilon', 1e-12);
  call.setOutput(await layerNormOf(call, sum, {axis: 2, epsilon, inputs: [5, 6]}));
  const keys = call.planner.keysOf(call.node);
  const maskType = call.int('mask_index_type', 0);
  if (keys.length > 1) {
    if (maskType !== 0) {
      call.refuse(`The node has the mask_index_type ${maskType}.`);
    }
    // The number of unmasked tokens.
    const mask = call.has(7) ? await call.input(7) : call.refuse('The node counts tokens without a mask.');
    call.lowering.setOutput(
      call.node.name,
      1,
      await call.emit('Sum', [mask, call.constant([1])], {keep_dims: attribute.flag(false)}),
    );
  }
  if (keys.length > 2) {
    call.lowering.setOutput(call.node.name, 2, sum);
  }
};

/** Shifts and scales values to mean 0 and variance 1 over axes. */
async function standardize(call: OnnxCall, x: string, axes: readonly number[], epsilon: number): Promise<string> {
  const mean = await call.emit('Mean', [x, call.constant(axes)], {keep_dims: attribute.flag(true)});
  return overRootMeanSquare(call, await call.emit('Sub', [x, mean]), axes, epsilon);
}

/** `x / √(mean(x²) + epsilon)` over axes. */
async function overRootMeanSquare(
  call: OnnxCall,
  x: string,
  axes: readonly number[],
  epsilon: number,
): Promise<string> {
  const squares = await call.emit('Square', [x]);
  const mean = await call.emit('Mean', [squares, call.constant(axes)], {keep_dims: attribute.flag(true)});
  return call.emit('Mul', [x, await call.emit('Rsqrt', [await call.emit('AddV2', [mean, call.scalar(epsilon)])])]);
}

/** Normalizes each channel of each example. */
export const instanceNorm: Rule = async call => {
  const rank = call.rank();
  const perm = channelsLast(rank);
  const axes = range(rank).slice(1, -1);
  const normal = await standardize(call, await call.inputIn(0, perm), axes, call.float('epsilon', 1e-5));
  const scaled = await call.emit('Mul', [normal, await call.input(1)]);
  call.setOutput(await call.emit('AddV2', [scaled, await call.input(2)]), perm);
};

/** Normalizes groups of channels of each example. */
export const groupNorm: Rule = async call => {
  const groups = call.int('num_groups', 1);
  const channels = call.size(0, 1) ?? call.refuse('The node has a dynamic number of channels.');
  const rank = call.rank();
  const spatialSizes = await call.sizeEntries(range(rank).slice(2));
  // [batch, …, groups, channels / groups]
  const perm = channelsLast(rank);
  const lead = await call.sizeEntry(0, 0);
  const groupedShape = await call.vector([lead, ...spatialSizes, groups, channels / groups]);
  const shape = await call.vector([lead, ...spatialSizes, channels]);
  const groupedChannels = await call.emit('Reshape', [await call.inputIn(0, perm), groupedShape]);
  const axes = [...range(rank).slice(1, -1), rank];
  const normal = await call.emit('Reshape', [
    await standardize(call, groupedChannels, axes, call.float('epsilon', 1e-5)),
    shape,
  ]);
  // Before opset 21, scale and bias have a value for each group.
  const perChannel = async (index: number) => {
    const size = call.size(index, 0);
    if (size === channels) {
      return call.input(index);
    }
    const column = await call.emit('Reshape', [await call.input(index), call.constant([groups, 1])]);
    const tiled = await call.emit('Tile', [column, call.constant([1, channels / groups])]);
    return call.emit('Reshape', [tiled, call.constant([channels])]);
  };
  const scaled = await call.emit('Mul', [normal, await perChannel(1)]);
  call.setOutput(await call.emit('AddV2', [scaled, await perChannel(2)]), perm);
};

/** RMS normalization over the last axes: `x / √(mean(x²) + epsilon) · gamma`. */
export const rmsNorm: Rule = async call => {
  const axes = range(call.rank()).slice(call.axis(call.int('axis', -1)));
  call.setOutput(await rmsNormOf(call, await call.input(), {axes, epsilon: call.float('epsilon', 1e-5), gamma: 1}));
};

async function rmsNormOf(
  call: OnnxCall,
  x: string,
  {axes, epsilon, gamma}: {axes: readonly number[]; epsilon: number; gamma: number},
): Promise<string> {
  return call.emit('Mul', [await overRootMeanSquare(call, x, axes, epsilon), await call.input(gamma)]);
}

export const localResponse: Rule = async call => {
  const size = call.int('size', 1);
  if (size % 2 === 0) {
    call.refuse('The node has an even size.');
  }
  const perm = channelsLast(call.rank());
  const attr = {
    depth_radius: attribute.int((size - 1) / 2),
    bias: attribute.number(call.float('bias', 1)),
    alpha: attribute.number(call.float('alpha', 1e-4) / size),
    beta: attribute.number(call.float('beta', 0.75)),
  };
  call.setOutput(await call.emit('LRN', [await call.inputIn(0, perm)], attr), perm);
};
