import type {Rule} from './activations';
import {cast, truncateToZero} from './elementwise';
import {range} from './lowering';
import {attribute, type OnnxCall} from './onnxCall';

/** The layout of a value after `axes` have been removed. */
export function withoutAxes(perm: readonly number[], axes: readonly number[]): number[] {
  const remaining = perm.filter(axis => !axes.includes(axis));
  return remaining.map(axis => axis - axes.filter(gone => gone < axis).length);
}

/** The axes to reduce; `undefined` if the node returns its input. */
function axesOf(call: OnnxCall, since: number): number[] | undefined {
  const axes = (call.version < since ? call.ints('axes') : call.list('axes', 1))?.map(axis => call.axis(axis)) ?? [];
  const isIdentity = call.int('noop_with_empty_axes', 0) === 1;
  return axes.length > 0 ? axes : isIdentity ? undefined : range(call.rank());
}

/**
 * A rule for a reduction, with elementwise operations before and after it. Without axes, only these are computed.
 * Roots and logarithms of integers are rounded towards zero.
 *
 * @param since the opset from which the axes are an input.
 */
export function reduce(op: string, since = 18, before?: string, after?: string): Rule {
  return async call => {
    const axes = axesOf(call, since);
    const keeps = call.int('keepdims', 1) === 1;
    const perm = call.perm();
    const isWhole = call.dtype() === 'int32';
    const inFloats = isWhole && after !== undefined;
    let x = inFloats ? await cast(call, call.key(0), 'DT_FLOAT') : call.key(0);
    x = before === undefined ? x : await call.emit(before, [x]);
    if (axes !== undefined) {
      const along = call.constant(axes.map(axis => perm.indexOf(axis)));
      // A mean of integers is rounded towards zero. tfjs would return a float.
      const isIntegerMean = isWhole && op === 'Mean';
      x = await call.emit(isIntegerMean ? 'Sum' : op, [x, along], {keep_dims: attribute.flag(keeps)});
      x = isIntegerMean ? await truncateToZero(call, 'FloorDiv', [x, await countAlong(call, axes)]) : x;
    }
    x = after === undefined ? x : await call.emit(after, [x]);
    x = inFloats ? await cast(call, x, 'DT_INT32') : x;
    call.setOutput(x, keeps || axes === undefined ? perm : withoutAxes(perm, axes));
  };
}

/** The number of values that a reduction combines. */
async function countAlong(call: OnnxCall, axes: readonly number[]): Promise<string> {
  return call.emit('Prod', [await call.vector(await call.sizeEntries(axes)), call.constant([0])]);
}

/** `log(Σ exp(x))`, computed as `max + log(Σ exp(x - max))` to avoid overflow. */
export const logSumExp: Rule = async call => {
  const axes = axesOf(call, 18);
  const keeps = call.int('keepdims', 1) === 1;
  const perm = call.perm();
  if (axes === undefined) {
    call.setOutput(call.key(0), perm);
    return;
  }
  const isWhole = call.dtype() === 'int32';
  const x = isWhole ? await cast(call, call.key(0), 'DT_FLOAT') : call.key(0);
  const keep = {keep_dims: attribute.flag(true)};
  const along = call.constant(axes.map(axis => perm.indexOf(axis)));
  const largest = await call.emit('Max', [x, along], keep);
  const powers = await call.emit('Exp', [await call.emit('Sub', [x, largest])]);
  const log = await call.emit('Log', [await call.emit('Sum', [powers, along], keep)]);
  const sum = await call.emit('AddV2', [log, largest]);
  const result = isWhole ? await cast(call, sum, 'DT_INT32') : sum;
  if (keeps) {
    call.setOutput(result, perm);
    return;
  }
  const dims = attribute.ints(axes.map(axis => perm.indexOf(axis)));
  call.setOutput(await call.emit('Squeeze', [result], {squeeze_dims: dims}), withoutAxes(perm, axes));
};

export function arg(op: 'ArgMax' | 'ArgMin'): Rule {
  return async call => {
    if (call.int('select_last_index', 0) === 1) {
      call.refuse('The node selects the last of equal values.');
    }
    const axis = call.axis(call.int('axis', 0));
    const perm = call.perm();
    const at = perm.indexOf(axis);
    const indices = await call.emit(op, [call.key(0), call.scalar(at, 'int32')]);
    if (call.int('keepdims', 1) === 1) {
      call.setOutput(await call.emit('ExpandDims', [indices, call.scalar(at, 'int32')]), perm);
    } else {
      call.setOutput(indices, withoutAxes(perm, [axis]));
    }
  };
}

export const cumSum: Rule = async call => {
  const perm = call.perm();
  const axis = perm.indexOf(call.axis(call.number(1, 0)));
  const attr = {
    exclusive: attribute.flag(call.int('exclusive', 0) === 1),
    reverse: attribute.flag(call.int('reverse', 0) === 1),
  };
  call.setOutput(await call.emit('Cumsum', [call.key(0), call.scalar(axis, 'int32')], attr), perm);
};

/** The largest values and their indices along an axis, which is moved to the end. */
export const topK: Rule = async call => {
  if (call.int('largest', 1) === 0) {
    call.refuse('The node returns the smallest values.');
  }
  const axis = call.axis(call.int('axis', -1));
  const perm = [...call.perm().filter(at => at !== axis), axis];
  const k = call.version < 10 ? call.int('k', 1) : call.number(1, 1);
  const result = await call.emit(
    'TopKV2',
    [await call.inputIn(0, perm), call.scalar(k, 'int32')],
    {sorted: attribute.flag(true)},
    2,
  );
  call.setOutput(result, perm);
  call.lowering.setOutput(call.node.name, 1, `${result}:1`, perm);
};

/** Divides values by their L1 or L2 norm along an axis. Zeros stay zeros. */
export const lpNormalization: Rule = async (call: OnnxCall) => {
  const perm = call.perm();
  const along = call.constant([perm.indexOf(call.axis(call.int('axis', -1)))]);
  const keep = {keep_dims: attribute.flag(true)};
  const isFirst = call.int('p', 2) === 1;
  const sum = await call.emit('Sum', [await call.emit(isFirst ? 'Abs' : 'Square', [call.key(0)]), along], keep);
  // A norm of 0 is replaced by 1, so that the square root has a finite gradient.
  const isZero = await cast(call, await call.emit('Equal', [sum, call.scalar(0)]), 'DT_FLOAT');
  const safe = await call.emit('AddV2', [sum, isZero]);
  call.setOutput(await call.emit('RealDiv', [call.key(0), isFirst ? safe : await call.emit('Sqrt', [safe])]), perm);
};
