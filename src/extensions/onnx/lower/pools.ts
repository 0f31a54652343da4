import {sizeOf} from '../../../platform/formats/layout';
import type {Margin} from '../../../backends/shared/geometry';
import type {Rule} from './activations';
import {channelsLast, range} from './lowering';
import {attribute, type OnnxCall} from './onnxCall';
import {withPadding, paddingOf, type Window, windowOf} from './convolutions';

/** The lowest float32, for padding that a maximum ignores. */
export const LOWEST_FLOAT = -3.4028234663852886e38;

/** Extends the end padding so that `ceil_mode` adds the last, incomplete window. */
function withCeiling(call: OnnxCall, window: Window): Window {
  if (call.int('ceil_mode', 0) === 0 || window.padding === 'same') {
    return window;
  }
  const padding = window.padding.map(([begin, end], i): Margin => {
    const [kernel = 1, stride = 1] = [window.kernel[i], window.strides[i]];
    if (stride === 1) {
      return [begin, end];
    }
    const size = call.size(0, 2 + i) ?? call.refuse('The node rounds up a dynamic size.');
    const count = Math.ceil((size + begin + end - kernel) / stride) + 1;
    // A last window that would begin in the end padding is dropped.
    const used = (count - 1) * stride >= size + begin ? count - 1 : count;
    return [begin, Math.max((used - 1) * stride + kernel - size - begin, 0)];
  });
  return {...window, padding};
}

function poolWindow(call: OnnxCall, keepsPads = false): Window {
  const window = windowOf(call, call.ints('kernel_shape') ?? call.refuse('The node has no kernel_shape.'), keepsPads);
  if (window.dilations.some(rate => rate > 1)) {
    call.refuse('The node has dilations.');
  }
  if (call.proto.outputs.length > 1) {
    call.refuse('The node returns indices.');
  }
  call.floats();
  return withCeiling(call, window);
}

function poolLayer(call: OnnxCall, kind: 'Max' | 'Average', x: string, {kernel, strides, padding}: Window): string {
  const one = kernel.length === 1;
  const config = {
    poolSize: one ? (kernel[0] ?? 1) : kernel,
    strides: one ? (strides[0] ?? 1) : strides,
    padding: paddingOf(padding),
  };
  return call.layer(`${kind}Pooling${kernel.length}D`, config, [x]);
}

export const maxPool: Rule = async call => {
  const window = poolWindow(call);
  const perm = channelsLast(call.rank());
  call.setOutput(
    poolLayer(call, 'Max', await withPadding(call, await call.inputIn(0, perm), window.padding, LOWEST_FLOAT), window),
    perm,
  );
};

export const averagePool: Rule = async call => {
  const countsPads = call.int('count_include_pad', 0) === 1;
  const windowInFile = windowOf(call, call.ints('kernel_shape') ?? [], countsPads);
  const window = poolWindow(call, countsPads);
  const {kernel, strides, padding: pads} = window;
  const perm = channelsLast(call.rank());
  const held = await call.inputIn(0, perm);
  if (pads === 'same' ? !countsPads : pads.flat().every(size => size === 0)) {
    call.setOutput(poolLayer(call, 'Average', held, window), perm);
    return;
  }
  const explicitPads =
    pads === 'same'
      ? kernel.map((size): Margin => [Math.floor((size - 1) / 2), size - 1 - Math.floor((size - 1) / 2)])
      : pads;
  if (pads === 'same' && strides.some(stride => stride > 1)) {
    call.refuse('The node counts pads of auto_pad.');
  }
  const pool = poolLayer(call, 'Average', await withPadding(call, held, explicitPads), {
    ...window,
    padding: explicitPads,
  });
  // The layer divides by the size of the window: these factors correct windows that count fewer values.
  const factors = kernel.map((size, i) => {
    const inputSize = call.size(0, 2 + i);
    const [begin, end] = explicitPads[i] ?? [0, 0];
    const padsInFile = windowInFile.padding === 'same' ? [begin, end] : (windowInFile.padding[i] ?? [0, 0]);
    const dividesByAll = countsPads && padsInFile.join() === [begin, end].join();
    if (dividesByAll || begin + end === 0) {
      return undefined;
    }
    const length = inputSize ?? call.refuse('The node excludes its pads from averages with a dynamic size.');
    const [from, to] = countsPads ? [0, begin + length + (padsInFile[1] ?? 0)] : [begin, begin + length];
    const stride = strides[i] ?? 1;
    return call
      .indicesBelow(Math.floor((begin + length + end - size) / stride) + 1)
      .map(at => size / Math.max(Math.min(at * stride + size, to) - Math.max(at * stride, from), 1));
  });
  if (factors.every(list => list === undefined)) {
    call.setOutput(pool, perm);
    return;
  }
  const shape = factors.map(list => list?.length ?? 1);
  const values = call
    .indicesBelow(sizeOf(shape))
    .map(flat =>
      factors.reduce(
        (product, list, i) => product * (list?.[Math.floor(flat / sizeOf(shape.slice(i + 1))) % (shape[i] ?? 1)] ?? 1),
        1,
      ),
    );
  call.setOutput(await call.emit('Mul', [pool, call.constant(values, [1, ...shape, 1], 'float32')]), perm);
};

/** A pool over all axes after the channels. */
export function globalPool(op: 'Mean' | 'Max'): Rule {
  return async call => {
    const perm = channelsLast(call.rank());
    const axes = range(call.rank() - 2).map(i => i + 1);
    call.setOutput(
      await call.emit(op, [await call.inputIn(0, perm), call.constant(axes)], {keep_dims: attribute.flag(true)}),
      perm,
    );
  };
}
