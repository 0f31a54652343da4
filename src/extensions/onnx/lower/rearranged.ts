import type {Rule} from './activations';
import {cast} from './elementwise';
import {range} from './lowering';
import {attribute} from './onnxCall';

export const depthToSpace: Rule = async call => {
  const block = call.int('blocksize', 1);
  const perm = [0, 2, 3, 1];
  let x = await call.inputIn(0, perm);
  if (call.text('mode', 'DCR') === 'CRD') {
    // TensorFlow's DepthToSpace expects the channel order DCR.
    const channels = (call.size(0, 1) ?? call.refuse('The node has a dynamic number of channels.')) / block ** 2;
    const order = call
      .indicesBelow(channels * block ** 2)
      .map(i => (i % channels) * block ** 2 + Math.floor(i / channels));
    x = await call.emit('GatherV2', [x, call.constant(order), call.scalar(3, 'int32')]);
  }
  const attr = {block_size: attribute.int(block), data_format: attribute.text('NHWC')};
  call.setOutput(await call.emit('DepthToSpace', [x, ...[]], attr), perm);
};

export const spaceToDepth: Rule = async call => {
  const block = call.int('blocksize', 1);
  const perm = [0, 2, 3, 1];
  const [channels, height, width] = range(3).map(
    i => call.size(0, i + 1) ?? call.refuse('The node leaves sizes open.'),
  ) as [number, number, number];
  const batch = await call.sizeEntry(0, 0);
  const [rows, columns] = [height / block, width / block];
  const split = await call.vector([batch, rows, block, columns, block, channels]);
  const parts = await call.emit('Reshape', [await call.inputIn(0, perm), split]);
  const moved = await call.emit('Transpose', [parts, call.constant([0, 1, 3, 2, 4, 5])]);
  call.setOutput(
    await call.emit('Reshape', [moved, await call.vector([batch, rows, columns, channels * block ** 2])]),
    perm,
  );
};

/** The triangle on one side of a diagonal; other values become 0. */
export const trilu: Rule = async call => {
  const rank = call.rank();
  const k = call.number(1, 0);
  const isUpper = call.int('upper', 1) === 1;
  const [rows, columns] = [rank - 2, rank - 1].map(
    axis => call.size(0, axis) ?? call.refuse('The node leaves sizes open.'),
  ) as [number, number];
  const mask = call.indicesBelow(rows * columns).map(i => {
    const diagonal = (i % columns) - Math.floor(i / columns);
    return Number(isUpper ? diagonal >= k : diagonal <= k);
  });
  const inTriangle = await cast(call, call.constant(mask, [rows, columns]), 'DT_BOOL');
  const x = await call.input();
  if (call.dtype() === 'bool') {
    call.setOutput(await call.emit('LogicalAnd', [x, inTriangle]));
    return;
  }
  const zero = call.scalar(0, call.dtype() === 'float32' ? 'float32' : 'int32');
  call.setOutput(await call.emit('SelectV2', [inTriangle, x, zero]));
};

/** The indices of nonzero values, a column for each. */
export const nonZero: Rule = async call => {
  const x = await call.input();
  const indices = await call.emit('Where', [call.dtype() === 'bool' ? x : await cast(call, x, 'DT_BOOL')]);
  call.setOutput(indices, [1, 0]);
};
