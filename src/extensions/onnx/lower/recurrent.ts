import type * as tf from '@tensorflow/tfjs';
import {registerResetAfterGRU} from '../../../core/layers/gruResetAfter';
import type {Rule} from './activations';
import type {Arrangement} from './lowering';
import {attribute, type OnnxCall} from './onnxCall';

/** A kind of recurrent layer. */
interface Kind {
  /** The gates of tfjs, by their places in ONNX. */
  gates: readonly number[];
  /** What it activates by if the file does not say. */
  activations: readonly string[];
  layer: (call: OnnxCall) => {className: string; bias: 'added' | 'rows'};
}

const LSTM: Kind = {
  gates: [0, 2, 3, 1], // i, o, f, c in ONNX
  activations: ['sigmoid', 'tanh', 'tanh'],
  layer: () => ({className: 'LSTM', bias: 'added'}),
};

const GRU: Kind = {
  gates: [0, 1, 2],
  activations: ['sigmoid', 'tanh'],
  layer: call =>
    call.int('linear_before_reset', 0) === 0
      ? {className: 'GRU', bias: 'added'}
      : {className: registerResetAfterGRU().layer, bias: 'rows'},
};

const RNN: Kind = {
  gates: [0],
  activations: ['tanh'],
  layer: () => ({className: 'SimpleRNN', bias: 'added'}),
};

/** A recurrent layer for each direction. Its result is held with the batch first: `[batch, time, direction, units]`. */
function recurrent(kind: Kind): Rule {
  return async call => {
    const isBatchFirst = call.int('layout', 0) === 1;
    const units = call.int('hidden_size', call.size(2, 2) ?? 0);
    const direction = call.text('direction', 'forward');
    checkSettings(call);
    const x = await call.as(0, isBatchFirst ? [0, 1, 2] : [1, 0, 2]);
    const ways = direction === 'bidirectional' ? [false, true] : [direction === 'reverse'];
    const results: string[] = [];
    for (const [i, isReverse] of ways.entries()) {
      results.push(await oneWay(call, kind, x, {place: i, isReverse, units}));
    }
    const stack = await stacked(call, results, 2);
    call.give(stack, isBatchFirst ? undefined : [2, 0, 1, 3]);
    if (call.planner.keysOf(call.node).length > 1) {
      const last: string[] = [];
      for (const [i, isReverse] of ways.entries()) {
        last.push(await stateOf(call, results[i] as string, isReverse));
      }
      call.low.give(call.node.name, 1, await stacked(call, last, 1), isBatchFirst ? undefined : [1, 0, 2]);
    }
  };
}

function checkSettings(call: OnnxCall): void {
  call.floats();
  const faults = [
    ...(call.attribute('clip') === undefined ? [] : ['has clip']),
    ...(call.int('input_forget', 0) === 0 ? [] : ['has input_forget']),
    ...(call.has(4) ? ['takes lengths of sequences'] : []),
    ...(call.has(7) ? ['has peepholes'] : []),
    ...([5, 6].some(i => call.has(i) && !isZero(call, i)) ? ['takes initial states'] : []),
    ...(call.planner.keysOf(call.node).length > 2 ? ['gives its cells'] : []),
  ];
  if (faults.length > 0) {
    call.refuse(faults.join(', '));
  }
}

/** Whether an input is zeros, for whatever sizes. */
function isZero(call: OnnxCall, index: number): boolean {
  const value = call.value(index);
  const pair = value.kind === 'shaped' ? value.pair : value.kind === 'constant' ? [value] : [];
  return (
    pair.length > 0 &&
    pair.every(({values, tensor}) => Array.from(values ?? tensor.dataSync()).every(each => each === 0))
  );
}

interface Way {
  place: number;
  isReverse: boolean;
  units: number;
}

/** What one direction gives, in the order of time. */
async function oneWay(call: OnnxCall, kind: Kind, x: string, {place, isReverse, units}: Way): Promise<string> {
  const {gates} = kind;
  const {className, bias} = kind.layer(call);
  const names = (call.attribute('activations')?.strings ?? []).map(name => name.toLowerCase());
  const count = kind.activations.length;
  const own = names.length === 0 ? kind.activations : names.slice(place * count, (place + 1) * count);
  const known = ['tanh', 'sigmoid', 'relu', 'softsign', 'softplus'];
  if (own.some(name => !known.includes(name)) || (count === 3 && own[1] !== own[2])) {
    call.refuse(`activates by ${own.join(', ')}`);
  }
  const columns = (index: number) => call.size(index, 2) ?? 0;
  const part = [place, 1] as const;
  const to = (...sizes: number[]) => ({to: [...sizes, gates.length * units]});
  const matrix = (index: number): Arrangement => ({
    part,
    shape: [gates.length, units, columns(index)],
    order: gates,
    perm: [2, 0, 1],
    ...to(columns(index)),
  });
  const biases: Arrangement =
    bias === 'rows'
      ? {part, shape: [2, gates.length * units]}
      : {part, shape: [2, gates.length, units], added: true, order: gates, ...to()};
  const weight = (index: number, how: Arrangement) =>
    call.low.weight(call.node.name, index, how) ?? call.refuse(`computes its input ${index}`);
  const config: tf.serialization.ConfigDict = {
    units,
    returnSequences: true,
    goBackwards: isReverse,
    useBias: call.has(3),
    activation: own.at(-1) ?? 'tanh',
    ...(count > 1 && {recurrentActivation: own[0] ?? 'sigmoid'}),
    kernelInitializer: 'zeros',
    recurrentInitializer: 'zeros',
  };
  const weights = {
    kernel: weight(1, matrix(1)),
    recurrent_kernel: weight(2, matrix(2)),
    bias: call.has(3) ? weight(3, biases) : undefined,
  };
  const result = call.layer(className, config, [x], weights, place > 0 ? 'backward' : undefined);
  return isReverse ? call.emit('ReverseV2', [result, call.constant([1])]) : result;
}

/** The state after the last step: `[batch, units]`. */
async function stateOf(call: OnnxCall, sequence: string, isReverse: boolean): Promise<string> {
  const at = call.constant([0, isReverse ? 0 : -1, 0]);
  return call.emit('StridedSlice', [sequence, at, call.constant([0, isReverse ? 1 : 0, 0]), call.constant([1, 1, 1])], {
    begin_mask: attribute.int(5),
    end_mask: attribute.int(isReverse ? 5 : 7),
    shrink_axis_mask: attribute.int(2),
    ellipsis_mask: attribute.int(0),
    new_axis_mask: attribute.int(0),
  });
}

/** One for each direction, along a new axis. */
async function stacked(call: OnnxCall, parts: readonly string[], axis: number): Promise<string> {
  return parts.length === 1
    ? call.emit('ExpandDims', [parts[0] as string, call.scalar(axis, 'int32')])
    : call.emit('Pack', parts, {axis: attribute.int(axis), N: attribute.int(parts.length)});
}

export const lstm = recurrent(LSTM);
export const gru = recurrent(GRU);
export const rnn = recurrent(RNN);
