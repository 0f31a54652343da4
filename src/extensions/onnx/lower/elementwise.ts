import type {Rule} from './activations';
import {isIdentity, range} from './lowering';
import {attribute, type OnnxCall} from './onnxCall';

/**
 * The inputs of an operation that broadcasts, all held by one permutation: that of the first that flows and has all
 * axes.
 */
export async function aligned(call: OnnxCall): Promise<{names: string[]; perm: readonly number[]}> {
  const all = range(call.count);
  const rank = Math.max(...all.map(i => call.rank(i)));
  const lead =
    all.find(i => call.rank(i) === rank && call.value(i).kind === 'flow') ?? all.find(i => call.rank(i) === rank) ?? 0;
  const isLow = (i: number) => call.rank(i) < rank;
  // One that flows and has fewer axes is taken as it is.
  const perm = all.some(i => isLow(i) && call.rank(i) > 0 && call.value(i).kind !== 'constant')
    ? range(rank)
    : call.perm(lead);
  const names: string[] = [];
  for (const i of all) {
    if (!isLow(i)) {
      names.push(await call.as(i, perm));
    } else if (call.rank(i) === 0 || isIdentity(perm)) {
      names.push(await call.plain(i));
    } else {
      const shape = [
        ...new Array<number>(rank - call.rank(i)).fill(1),
        ...range(call.rank(i)).map(axis => call.size(i, axis) ?? 1),
      ];
      const whole = await call.emit('Reshape', [call.key(i), call.constant(shape)]);
      names.push(await call.held(whole, perm));
    }
  }
  return {names, perm};
}

/** An operation of two tensors, one value of each for a value. */
export function binary(op: string): Rule {
  return async call => {
    const {names, perm} = await aligned(call);
    call.give(await call.emit(op, names), perm);
  };
}

/** An operation of any number of tensors: of the first two, of that and the third, and so on. */
export function variadic(op: string, isMean = false): Rule {
  return async call => {
    const {names, perm} = await aligned(call);
    let [result = ''] = names;
    for (const name of names.slice(1)) {
      result = await call.emit(op, [result, name]);
    }
    call.give(isMean ? await call.emit('RealDiv', [result, call.scalar(names.length)]) : result, perm);
  };
}

/** Whether values are integers that are known not to be negative. */
function isCount(call: OnnxCall, name: string): boolean {
  const value = call.planner.valueOf(name);
  const numbers = call.planner.numbersAt(name)?.pair.flat();
  return value?.kind === 'shaped' || numbers?.every(number => number >= 0) === true;
}

/** A quotient that is cut off towards zero, or the remainder of it, from those of what is not negative. */
export async function truncated(
  call: OnnxCall,
  op: 'FloorDiv' | 'FloorMod',
  names: readonly string[],
): Promise<string> {
  const sizes: string[] = [];
  const signs: string[] = [];
  for (const [i, name] of names.entries()) {
    const isPlain = isCount(call, name);
    sizes.push(isPlain ? name : await call.emit('Abs', [name]));
    if (!isPlain && (i === 0 || op === 'FloorDiv')) {
      signs.push(await call.emit('Sign', [name]));
    }
  }
  let result = await call.emit(op, sizes);
  for (const sign of signs) {
    result = await call.emit('Mul', [result, sign]);
  }
  return result;
}

/** A quotient. That of integers is cut off towards zero. */
export const div: Rule = async call => {
  const {names, perm} = await aligned(call);
  const isWhole = call.dtype(0) === 'int32';
  call.give(isWhole ? await truncated(call, 'FloorDiv', names) : await call.emit('RealDiv', names), perm);
};

/** A remainder with the sign of the divisor; with `fmod`, with that of what is divided. */
export const mod: Rule = async call => {
  const {names, perm} = await aligned(call);
  const isTruncated = call.int('fmod', 0) === 1;
  call.give(isTruncated ? await truncated(call, 'FloorMod', names) : await call.emit('FloorMod', names), perm);
};

/** Both powers of floats: tfjs has one of whole numbers for whole numbers alone. */
export const pow: Rule = async call => {
  if (call.numbers(1)?.join() === '2') {
    call.give(await call.emit('Square', [call.key(0)]), call.perm());
    return;
  }
  const {names, perm} = await aligned(call);
  const [base = '', exponent = ''] = names;
  const isCast = call.dtype(0) === 'float32' && call.dtype(1) !== 'float32';
  call.give(await call.emit('Pow', [base, isCast ? await cast(call, exponent, 'DT_FLOAT') : exponent]), perm);
};

/** A value for each channel, or one for all. */
export const prelu: Rule = async call => {
  const perm = call.perm();
  const rank = call.rank(1);
  const slopes = range(rank).map(axis => call.size(1, axis) ?? 1);
  if (call.value(1).kind !== 'constant') {
    const whole = await aligned(call);
    call.give(await call.emit('Prelu', whole.names), whole.perm);
    return;
  }
  if (rank > perm.length || (rank === perm.length && slopes[0] !== 1)) {
    call.refuse('has slopes for each example');
  }
  const shape = [...new Array<number>(Math.max(perm.length - 1 - rank, 0)).fill(1), ...slopes].slice(1 - perm.length);
  const alpha = call.low.weight(call.node.name, 1, {shape, perm: perm.slice(1).map(axis => axis - 1)});
  call.give(await call.emit('Prelu', [call.key(0), alpha ?? call.refuse('needs slopes of floats')]), perm);
};

export const where: Rule = async call => {
  const {names, perm} = await aligned(call);
  call.give(await call.emit('SelectV2', names), perm);
};

/** True where one is and the other is not. */
export const xor: Rule = async call => {
  const {names, perm} = await aligned(call);
  const whole: string[] = [];
  for (const name of names) {
    whole.push(await cast(call, name, 'DT_INT32'));
  }
  call.give(await call.emit('NotEqual', whole), perm);
};

export function cast(call: OnnxCall, name: string, type: 'DT_FLOAT' | 'DT_INT32' | 'DT_BOOL'): Promise<string> {
  return call.emit('Cast', [name], {DstT: attribute.type(type)});
}

/** By type: how many integers it has, and the smallest one. Those of 32 bits and more are held as int32. */
const FEW_INTEGERS: Readonly<Record<number, readonly [count: number, least: number]>> = {
  2: [2 ** 8, 0],
  3: [2 ** 8, -(2 ** 7)],
  4: [2 ** 16, 0],
  5: [2 ** 16, -(2 ** 15)],
};

/** Unsigned integers of 32 and 64 bits. */
const LARGE_UNSIGNED = [12, 13];

/** TensorFlow.js has one type of floats, and one of integers. Those beyond the range of smaller types wrap around. */
export const castTo: Rule = async call => {
  const to = call.int('to', 1);
  const type = [1, 10, 11, 16].includes(to) ? 'float32' : to === 9 ? 'bool' : 'int32';
  if (to === 8 || to > 16) {
    call.refuse(`casts to type ${to}`);
  }
  const kind = {float32: 'DT_FLOAT', bool: 'DT_BOOL', int32: 'DT_INT32'} as const;
  let name = call.dtype() === type ? call.key(0) : await cast(call, call.key(0), kind[type]);
  const [count, least] = FEW_INTEGERS[to] ?? [];
  const int = (value: number) => call.scalar(value, 'int32');
  if (call.dtype() !== 'bool' && count !== undefined && least !== undefined) {
    const from = least === 0 ? name : await call.emit('Sub', [name, int(least)]);
    const wrapped = await call.emit('FloorMod', [from, int(count)]);
    name = least === 0 ? wrapped : await call.emit('AddV2', [wrapped, int(least)]);
  } else if (LARGE_UNSIGNED.includes(to) && call.dtype() !== 'bool' && !isCount(call, name)) {
    // Negative numbers become larger ones than int32 has.
    name = await call.emit('SelectV2', [await call.emit('Less', [name, int(0)]), int(2 ** 31 - 1), name]);
  }
  call.give(name, call.perm());
};

export const isInf: Rule = async call => {
  const [negative, positive] = [call.int('detect_negative', 1), call.int('detect_positive', 1)];
  if (negative !== 1 || positive !== 1) {
    call.refuse('detects infinities of one sign only');
  }
  call.give(await call.emit('IsInf', [call.key(0)]), call.perm());
};
