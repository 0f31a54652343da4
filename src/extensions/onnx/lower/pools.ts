import {sizeOf} from '../../../platform/formats/layout';
import type {Rule} from './activations';
import {channelsLast, range} from './lowering';
import {attribute, type OnnxCall} from './onnxCall';
import {padded, paddingOf, type Window, windowOf} from './convolutions';

/** A bound below all values. */
export const LOWEST = -3.4028234663852886e38;

/** Pads that `ceil_mode` adds at the end, where a last window would go beyond what there is. */
function withCeiling(call: OnnxCall, window: Window): Window {
  if (call.int('ceil_mode', 0) === 0 || window.pads === 'same') {
    return window;
  }
  const pads = window.pads.map(([begin, end], i): [number, number] => {
    const [kernel = 1, stride = 1] = [window.kernel[i], window.strides[i]];
    if (stride === 1) {
      return [begin, end];
    }
    const size = call.size(0, 2 + i) ?? call.refuse('rounds up a dynamic size');
    const count = Math.ceil((size + begin + end - kernel) / stride) + 1;
    // The last window begins within the values or the pads before them.
    const used = (count - 1) * stride >= size + begin ? count - 1 : count;
    return [begin, Math.max((used - 1) * stride + kernel - size - begin, 0)];
  });
  return {...window, pads};
}

function poolWindow(call: OnnxCall, keepsPads = false): Window {
  const window = windowOf(call, call.ints('kernel_shape') ?? call.refuse('has no kernel_shape'), keepsPads);
  if (window.dilations.some(rate => rate > 1)) {
    call.refuse('has dilations');
  }
  if (call.proto.outputs.length > 1) {
    call.refuse('returns indices');
  }
  call.floats();
  return withCeiling(call, window);
}

function poolLayer(call: OnnxCall, kind: 'Max' | 'Average', x: string, {kernel, strides, pads}: Window): string {
  const one = kernel.length === 1;
  const config = {
    poolSize: one ? (kernel[0] ?? 1) : kernel,
    strides: one ? (strides[0] ?? 1) : strides,
    padding: paddingOf(pads),
  };
  return call.layer(`${kind}Pooling${kernel.length}D`, config, [x]);
}

export const maxPool: Rule = async call => {
  const window = poolWindow(call);
  const perm = channelsLast(call.rank());
  call.give(poolLayer(call, 'Max', await padded(call, await call.as(0, perm), window.pads, LOWEST), window), perm);
};

export const averagePool: Rule = async call => {
  const countsPads = call.int('count_include_pad', 0) === 1;
  const bare = windowOf(call, call.ints('kernel_shape') ?? [], countsPads);
  const window = poolWindow(call, countsPads);
  const {kernel, strides, pads} = window;
  const perm = channelsLast(call.rank());
  const held = await call.as(0, perm);
  if (pads === 'same' ? !countsPads : pads.flat().every(size => size === 0)) {
    call.give(poolLayer(call, 'Average', held, window), perm);
    return;
  }
  const explicit =
    pads === 'same'
      ? kernel.map((size): [number, number] => [Math.floor((size - 1) / 2), size - 1 - Math.floor((size - 1) / 2)])
      : pads;
  if (pads === 'same' && strides.some(stride => stride > 1)) {
    call.refuse('counts pads of auto_pad');
  }
  const pool = poolLayer(call, 'Average', await padded(call, held, explicit), {...window, pads: explicit});
  // By how many values each window is divided, where that is not all of them.
  const factors = kernel.map((size, i) => {
    const own = call.size(0, 2 + i);
    const [begin, end] = explicit[i] ?? [0, 0];
    const asked = bare.pads === 'same' ? [begin, end] : (bare.pads[i] ?? [0, 0]);
    const isPlain = countsPads && asked.join() === [begin, end].join();
    if (isPlain || begin + end === 0) {
      return undefined;
    }
    const length = own ?? call.refuse('excludes its pads from averages with a dynamic size');
    const [from, to] = countsPads ? [0, begin + length + (asked[1] ?? 0)] : [begin, begin + length];
    const stride = strides[i] ?? 1;
    return call
      .below(Math.floor((begin + length + end - size) / stride) + 1)
      .map(at => size / Math.max(Math.min(at * stride + size, to) - Math.max(at * stride, from), 1));
  });
  if (factors.every(list => list === undefined)) {
    call.give(pool, perm);
    return;
  }
  const shape = factors.map(list => list?.length ?? 1);
  const values = call
    .below(sizeOf(shape))
    .map(flat =>
      factors.reduce(
        (product, list, i) => product * (list?.[Math.floor(flat / sizeOf(shape.slice(i + 1))) % (shape[i] ?? 1)] ?? 1),
        1,
      ),
    );
  call.give(await call.emit('Mul', [pool, call.constant(values, [1, ...shape, 1], 'float32')]), perm);
};

/** Over all axes after the channels. */
export function globalPool(op: 'Mean' | 'Max'): Rule {
  return async call => {
    const perm = channelsLast(call.rank());
    const axes = range(call.rank() - 2).map(i => i + 1);
    call.give(
      await call.emit(op, [await call.as(0, perm), call.constant(axes)], {keep_dims: attribute.flag(true)}),
      perm,
    );
  };
}
