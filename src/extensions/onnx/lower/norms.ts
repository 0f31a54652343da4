import {sizeOf} from '../../../platform/formats/layout';
import type {Rule} from './activations';
import {channelsLast, range} from './lowering';
import {attribute, type Entry, type OnnxCall} from './onnxCall';

/** The layer of tfjs takes no tensors of more axes. */
const MOST_NORMALIZED = 4;

/** With the statistics that the file has. */
export const batchNorm: Rule = async call => {
  if (call.int('spatial', 1) !== 1) {
    call.refuse('normalizes each position by itself');
  }
  if (call.int('training_mode', 0) === 1 || call.proto.outputs.filter(name => name !== '').length > 1) {
    call.refuse('is in training');
  }
  call.floats();
  const names = ['gamma', 'beta', 'moving_mean', 'moving_variance'];
  const weights = names.map((name, i) => {
    return [name, call.low.weight(call.node.name, 1 + i) ?? call.refuse(`needs a constant input ${1 + i}`)] as const;
  });
  const perm = channelsLast(call.rank());
  const config = {axis: -1, epsilon: call.float('epsilon', 1e-5)};
  const x = await call.as(0, perm);
  const layer = (input: string) => call.layer('BatchNormalization', config, [input], Object.fromEntries(weights));
  if (perm.length <= MOST_NORMALIZED) {
    call.give(layer(x), perm);
    return;
  }
  const sizes: Entry[] = [];
  for (const axis of perm) {
    sizes.push(await call.entry(0, axis));
  }
  const positions = sizes.slice(1, -1);
  const isKnown = positions.every(size => typeof size === 'number');
  const flat = [sizes[0] ?? 1, isKnown ? sizeOf(positions) : -1, sizes.at(-1) ?? 1];
  const rows = isKnown ? await call.reshaped(x, flat) : await call.emit('Reshape', [x, await call.vector(flat)]);
  call.give(await call.reshaped(layer(rows), sizes), perm);
};

/** Over the last axes: one, as a layer; several, as operations. */
export const layerNorm: Rule = async call => {
  if (call.planner.keysOf(call.node).length > 1) {
    call.refuse('returns its mean and deviation');
  }
  const axis = call.axis(call.int('axis', -1));
  call.floats();
  call.give(await layerNormOf(call, await call.plain(), {axis, epsilon: call.float('epsilon', 1e-5), inputs: [1, 2]}));
};

/** @param inputs which inputs are its factors and what it adds. */
async function layerNormOf(
  call: OnnxCall,
  x: string,
  {axis, epsilon, inputs: [g, b]}: {axis: number; epsilon: number; inputs: readonly [number, number]},
): Promise<string> {
  const rank = call.rankOf(x);
  const gamma = call.low.weight(call.node.name, g);
  const beta = call.has(b) ? call.low.weight(call.node.name, b) : undefined;
  // The layer of tfjs takes four axes at most.
  const isRow =
    axis === rank - 1 && rank < 5 && call.rank(g) === 1 && (!call.has(b) || (beta !== undefined && call.rank(b) === 1));
  if (isRow && gamma !== undefined) {
    return call.layer('LayerNormalization', {axis: -1, epsilon, center: beta !== undefined}, [x], {gamma, beta});
  }
  const normal = await normalized(call, x, range(rank).slice(axis), epsilon);
  const scaled = await call.emit('Mul', [normal, await call.plain(g)]);
  return call.has(b) ? call.emit('AddV2', [scaled, await call.plain(b)]) : scaled;
}

/**
 * The normalization of a sum, which is the fourth output.
 * @param places the positions of the inputs after the first two.
 */
export function skipNorm(isRms: boolean): Rule {
  return async call => {
    const [gamma, beta, bias] = isRms ? [2, -1, 3] : [2, 3, 4];
    const keys = call.planner.keysOf(call.node);
    let sum = await call.emit('AddV2', [await call.plain(0), await call.plain(1)]);
    if (call.has(bias)) {
      sum = await call.emit('AddV2', [sum, await call.plain(bias)]);
    }
    const [axis, epsilon] = [call.rank() - 1, call.float('epsilon', isRms ? 1e-5 : 1e-12)];
    const norm = isRms
      ? await rmsNormOf(call, sum, {axes: [axis], epsilon, gamma})
      : await layerNormOf(call, sum, {axis, epsilon, inputs: [gamma, beta]});
    call.give(norm);
    if (keys.length > 3) {
      call.low.give(call.node.name, 3, sum);
    }
  };
}

/** Embeddings of tokens, positions and segments, and the norm of their sum. */
export const embedNorm: Rule = async call => {
  const positions = call.has(8)
    ? await call.plain(8)
    : await call.emit(
        'Range',
        [
          call.scalar(0, 'int32'),
          await call.emit('Reshape', [await call.vector([await call.entry(0, 1)]), call.constant([], [0])]),
          call.scalar(1, 'int32'),
        ],
        {Tidx: attribute.type('DT_INT32'), dtype: attribute.type('DT_INT32')},
      );
  const look = async (table: number, rows: string) =>
    call.emit('GatherV2', [
      call.low.weight(call.node.name, table) ?? (await call.plain(table)),
      rows,
      call.scalar(0, 'int32'),
    ]);
  let sum = await call.emit('AddV2', [await look(2, await call.plain(0)), await look(3, positions)]);
  if (call.has(1)) {
    sum = await call.emit('AddV2', [sum, await look(4, await call.plain(1))]);
  }
  const epsilon = call.float('epsilon', 1e-12);
  call.give(await layerNormOf(call, sum, {axis: 2, epsilon, inputs: [5, 6]}));
  const keys = call.planner.keysOf(call.node);
  const maskType = call.int('mask_index_type', 0);
  if (keys.length > 1) {
    if (maskType !== 0) {
      call.refuse(`has the mask_index_type ${maskType}`);
    }
    // How many tokens count.
    const mask = call.has(7) ? await call.plain(7) : call.refuse('counts tokens without a mask');
    call.low.give(
      call.node.name,
      1,
      await call.emit('Sum', [mask, call.constant([1])], {keep_dims: attribute.flag(false)}),
    );
  }
  if (keys.length > 2) {
    call.low.give(call.node.name, 2, sum);
  }
};

/** Values with the mean 0 and the variance 1 along axes. */
async function normalized(call: OnnxCall, x: string, axes: readonly number[], epsilon: number): Promise<string> {
  const along = call.constant(axes);
  const keep = {keep_dims: attribute.flag(true)};
  const centered = await call.emit('Sub', [x, await call.emit('Mean', [x, along], keep)]);
  const variance = await call.emit('Mean', [await call.emit('Square', [centered]), along], keep);
  const factor = await call.emit('Rsqrt', [await call.emit('AddV2', [variance, call.scalar(epsilon)])]);
  return call.emit('Mul', [centered, factor]);
}

/** Each channel of each example by itself. */
export const instanceNorm: Rule = async call => {
  const rank = call.rank();
  const perm = channelsLast(rank);
  const axes = range(rank).slice(1, -1);
  const normal = await normalized(call, await call.as(0, perm), axes, call.float('epsilon', 1e-5));
  const scaled = await call.emit('Mul', [normal, await call.plain(1)]);
  call.give(await call.emit('AddV2', [scaled, await call.plain(2)]), perm);
};

/** Groups of channels of each example. */
export const groupNorm: Rule = async call => {
  const groups = call.int('num_groups', 1);
  const channels = call.size(0, 1) ?? call.refuse('has a dynamic number of channels');
  const rank = call.rank();
  const rest = [];
  for (const axis of range(rank).slice(2)) {
    rest.push(await call.entry(0, axis));
  }
  // Channels last: [batch, …, groups, channels of a group].
  const perm = channelsLast(rank);
  const lead = await call.entry(0, 0);
  const split = await call.vector([lead, ...rest, groups, channels / groups]);
  const whole = await call.vector([lead, ...rest, channels]);
  const parts = await call.emit('Reshape', [await call.as(0, perm), split]);
  const axes = [...range(rank).slice(1, -1), rank];
  const normal = await call.emit('Reshape', [await normalized(call, parts, axes, call.float('epsilon', 1e-5)), whole]);
  // Up to version 20 there is a factor for each group.
  const repeated = async (index: number) => {
    const size = call.size(index, 0);
    if (size === channels) {
      return call.plain(index);
    }
    const each = await call.emit('Reshape', [await call.plain(index), call.constant([groups, 1])]);
    const tiled = await call.emit('Tile', [each, call.constant([1, channels / groups])]);
    return call.emit('Reshape', [tiled, call.constant([channels])]);
  };
  const scaled = await call.emit('Mul', [normal, await repeated(1)]);
  call.give(await call.emit('AddV2', [scaled, await repeated(2)]), perm);
};

/** Divided by the root of the mean of squares along the last axes. */
export const rmsNorm: Rule = async call => {
  const axes = range(call.rank()).slice(call.axis(call.int('axis', -1)));
  call.give(await rmsNormOf(call, await call.plain(), {axes, epsilon: call.float('epsilon', 1e-5), gamma: 1}));
};

async function rmsNormOf(
  call: OnnxCall,
  x: string,
  {axes, epsilon, gamma}: {axes: readonly number[]; epsilon: number; gamma: number},
): Promise<string> {
  const keep = {keep_dims: attribute.flag(true)};
  const square = await call.emit('Mean', [await call.emit('Square', [x]), call.constant(axes)], keep);
  const factor = await call.emit('Rsqrt', [await call.emit('AddV2', [square, call.scalar(epsilon)])]);
  return call.emit('Mul', [await call.emit('Mul', [x, factor]), await call.plain(gamma)]);
}

export const localResponse: Rule = async call => {
  const size = call.int('size', 1);
  if (size % 2 === 0) {
    call.refuse('has an even size');
  }
  const perm = channelsLast(call.rank());
  const attr = {
    depth_radius: attribute.int((size - 1) / 2),
    bias: attribute.number(call.float('bias', 1)),
    alpha: attribute.number(call.float('alpha', 1e-4) / size),
    beta: attribute.number(call.float('beta', 0.75)),
  };
  call.give(await call.emit('LRN', [await call.as(0, perm)], attr), perm);
};
