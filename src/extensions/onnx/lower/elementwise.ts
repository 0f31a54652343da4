import type {Rule} from './activations';
import {isIdentity, range} from './lowering';
import {attribute, type OnnxCall} from './onnxCall';

/** The inputs of a broadcasting operation in one layout: that of the first non-constant input of the highest rank. */
export async function alignInputs(call: OnnxCall): Promise<{names: string[]; perm: readonly number[]}> {
  const all = range(call.count);
  const rank = Math.max(...all.map(i => call.rank(i)));
  const lead =
    all.find(i => call.rank(i) === rank && call.value(i).kind === 'flow') ?? all.find(i => call.rank(i) === rank) ?? 0;
  const isLow = (i: number) => call.rank(i) < rank;
  // A non-constant input of lower rank cannot be permuted with the others: all return to the order of the file.
  const perm = all.some(i => isLow(i) && call.rank(i) > 0 && call.value(i).kind !== 'constant')
    ? range(rank)
    : call.perm(lead);
  const names: string[] = [];
  for (const i of all) {
    if (!isLow(i)) {
      names.push(await call.inputIn(i, perm));
    } else if (call.rank(i) === 0 || isIdentity(perm)) {
      names.push(await call.input(i));
    } else {
      const shape = [
        ...new Array<number>(rank - call.rank(i)).fill(1),
        ...range(call.rank(i)).map(axis => call.size(i, axis) ?? 1),
      ];
      const sameRank = await call.emit('Reshape', [call.key(i), call.constant(shape)]);
      names.push(await call.permuted(sameRank, perm));
    }
  }
  return {names, perm};
}

/** A rule for an elementwise operation of two tensors. */
export function binary(op: string): Rule {
  return async call => {
    const {names, perm} = await alignInputs(call);
    call.setOutput(await call.emit(op, names), perm);
  };
}

/** A rule that folds any number of inputs with an operation of two tensors. */
export function variadic(op: string, isMean = false): Rule {
  return async call => {
    const {names, perm} = await alignInputs(call);
    let [result = ''] = names;
    for (const name of names.slice(1)) {
      result = await call.emit(op, [result, name]);
    }
    call.setOutput(isMean ? await call.emit('RealDiv', [result, call.scalar(names.length)]) : result, perm);
  };
}

/** Whether the plan knows that a value is not negative: sizes, and constants. */
function isNonNegative(call: OnnxCall, name: string): boolean {
  const value = call.planner.valueOf(name);
  const numbers = call.planner.numbersAt(name)?.pair.flat();
  return value?.kind === 'shaped' || numbers?.every(number => number >= 0) === true;
}

/** Integer division, or its remainder, rounded towards zero. tfjs rounds down, so it gets absolute values. */
export async function truncateToZero(
  call: OnnxCall,
  op: 'FloorDiv' | 'FloorMod',
  names: readonly string[],
): Promise<string> {
  const sizes: string[] = [];
  const signs: string[] = [];
  for (const [i, name] of names.entries()) {
    const isUnsigned = isNonNegative(call, name);
    sizes.push(isUnsigned ? name : await call.emit('Abs', [name]));
    if (!isUnsigned && (i === 0 || op === 'FloorDiv')) {
      signs.push(await call.emit('Sign', [name]));
    }
  }
  let result = await call.emit(op, sizes);
  for (const sign of signs) {
    result = await call.emit('Mul', [result, sign]);
  }
  return result;
}

/** Division. That of integers rounds towards zero. */
export const div: Rule = async call => {
  const {names, perm} = await alignInputs(call);
  const isInteger = call.dtype(0) === 'int32';
  call.setOutput(isInteger ? await truncateToZero(call, 'FloorDiv', names) : await call.emit('RealDiv', names), perm);
};

/** The remainder, with the sign of the divisor; with `fmod`, with the sign of the dividend. */
export const mod: Rule = async call => {
  const {names, perm} = await alignInputs(call);
  const isTruncated = call.int('fmod', 0) === 1;
  call.setOutput(
    isTruncated ? await truncateToZero(call, 'FloorMod', names) : await call.emit('FloorMod', names),
    perm,
  );
};

/** A power. tfjs needs an exponent of floats for a base of floats. */
export const pow: Rule = async call => {
  if (call.numbers(1)?.join() === '2') {
    call.setOutput(await call.emit('Square', [call.key(0)]), call.perm());
    return;
  }
  const {names, perm} = await alignInputs(call);
  const [base = '', exponent = ''] = names;
  const isCast = call.dtype(0) === 'float32' && call.dtype(1) !== 'float32';
  call.setOutput(await call.emit('Pow', [base, isCast ? await cast(call, exponent, 'DT_FLOAT') : exponent]), perm);
};

/** A leaky ReLU with a slope for each channel, or one for all. */
export const prelu: Rule = async call => {
  const perm = call.perm();
  const rank = call.rank(1);
  const slopes = range(rank).map(axis => call.size(1, axis) ?? 1);
  if (call.value(1).kind !== 'constant') {
    const inputs = await alignInputs(call);
    call.setOutput(await call.emit('Prelu', inputs.names), inputs.perm);
    return;
  }
  if (rank > perm.length || (rank === perm.length && slopes[0] !== 1)) {
    call.refuse('The node has slopes for each example.');
  }
  const shape = [...new Array<number>(Math.max(perm.length - 1 - rank, 0)).fill(1), ...slopes].slice(1 - perm.length);
  const alpha = call.lowering.weight(call.node.name, 1, {shape, perm: perm.slice(1).map(axis => axis - 1)});
  call.setOutput(
    await call.emit('Prelu', [call.key(0), alpha ?? call.refuse('The node needs slopes of floats.')]),
    perm,
  );
};

export const where: Rule = async call => {
  const {names, perm} = await alignInputs(call);
  call.setOutput(await call.emit('SelectV2', names), perm);
};

/** Exclusive or, as the inequality of integers: tfjs compares no booleans. */
export const xor: Rule = async call => {
  const {names, perm} = await alignInputs(call);
  const integers: string[] = [];
  for (const name of names) {
    integers.push(await cast(call, name, 'DT_INT32'));
  }
  call.setOutput(await call.emit('NotEqual', integers), perm);
};

export function cast(call: OnnxCall, name: string, type: 'DT_FLOAT' | 'DT_INT32' | 'DT_BOOL'): Promise<string> {
  return call.emit('Cast', [name], {DstT: attribute.type(type)});
}

/** ONNX type → its number of values and the smallest one. Types of 32 bits and more become int32. */
const SMALL_INTEGERS: Readonly<Record<number, readonly [count: number, least: number]>> = {
  2: [2 ** 8, 0],
  3: [2 ** 8, -(2 ** 7)],
  4: [2 ** 16, 0],
  5: [2 ** 16, -(2 ** 15)],
};

/** The ONNX types uint32 and uint64. */
const LARGE_UNSIGNED_TYPES = [12, 13];

/** A cast to float32, int32 or bool. Values beyond the range of a smaller ONNX type wrap around. */
export const castTo: Rule = async call => {
  const to = call.int('to', 1);
  const type = [1, 10, 11, 16].includes(to) ? 'float32' : to === 9 ? 'bool' : 'int32';
  if (to === 8 || to > 16) {
    call.refuse(`The node casts to type ${to}.`);
  }
  const kind = {float32: 'DT_FLOAT', bool: 'DT_BOOL', int32: 'DT_INT32'} as const;
  let name = call.dtype() === type ? call.key(0) : await cast(call, call.key(0), kind[type]);
  const [count, least] = SMALL_INTEGERS[to] ?? [];
  const int = (value: number) => call.scalar(value, 'int32');
  if (call.dtype() !== 'bool' && count !== undefined && least !== undefined) {
    const from = least === 0 ? name : await call.emit('Sub', [name, int(least)]);
    const wrapped = await call.emit('FloorMod', [from, int(count)]);
    name = least === 0 ? wrapped : await call.emit('AddV2', [wrapped, int(least)]);
  } else if (LARGE_UNSIGNED_TYPES.includes(to) && call.dtype() !== 'bool' && !isNonNegative(call, name)) {
    // A negative number wraps to one above the range of int32, so it becomes the largest.
    name = await call.emit('SelectV2', [await call.emit('Less', [name, int(0)]), int(2 ** 31 - 1), name]);
  }
  call.setOutput(name, call.perm());
};

export const isInf: Rule = async call => {
  const [negative, positive] = [call.int('detect_negative', 1), call.int('detect_positive', 1)];
  if (negative !== 1 || positive !== 1) {
    call.refuse('The node detects infinities of one sign only.');
  }
  call.setOutput(await call.emit('IsInf', [call.key(0)]), call.perm());
};
