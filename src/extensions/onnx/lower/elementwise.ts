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

/** A quotient. That of whole numbers is cut off towards zero. */
export const div: Rule = async call => {
  const {names, perm} = await aligned(call);
  if (call.dtype(0) !== 'int32') {
    call.give(await call.emit('RealDiv', names), perm);
    return;
  }
  if (range(2).some(i => call.numbers(i)?.some(value => value < 0))) {
    call.refuse('divides negative integers');
  }
  call.give(await call.emit('FloorDiv', names), perm);
};

export const mod: Rule = async call => {
  if (call.int('fmod', 0) === 1 && call.dtype(0) !== 'int32') {
    call.refuse('has fmod');
  }
  await binary('FloorMod')(call);
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

/** TensorFlow.js has one type of floats, and one of whole numbers. */
export const castTo: Rule = async call => {
  const to = call.int('to', 1);
  const type = [1, 10, 11, 16].includes(to) ? 'float32' : to === 9 ? 'bool' : 'int32';
  if (to === 8 || to > 16) {
    call.refuse(`casts to type ${to}`);
  }
  const kind = {float32: 'DT_FLOAT', bool: 'DT_BOOL', int32: 'DT_INT32'} as const;
  const name = call.dtype() === type ? call.key(0) : await cast(call, call.key(0), kind[type]);
  call.give(name, call.perm());
};

export const isInf: Rule = async call => {
  const [negative, positive] = [call.int('detect_negative', 1), call.int('detect_positive', 1)];
  if (negative !== 1 || positive !== 1) {
    call.refuse('detects infinities of one sign only');
  }
  call.give(await call.emit('IsInf', [call.key(0)]), call.perm());
};
