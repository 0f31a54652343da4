import type * as tf from '@tensorflow/tfjs';
import {registerResetAfterGRU} from '../../../core/keras/gruResetAfter';
import type {Rule} from './activations';
import {type Arrangement, range} from './lowering';
import {attribute, type OnnxCall} from './onnxCall';

/** A kind of recurrent layer. */
interface Kind {
  /** The gates of tfjs, by their places in ONNX. */
  gates: readonly number[];
  /** The activations if the file does not name them. */
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
    const results: OfWay[] = [];
    for (const [i, isReverse] of ways.entries()) {
      results.push(await oneWay(call, kind, x, {place: i, isReverse, units, isBatchFirst}));
    }
    const stack = await stacked(
      call,
      results.map(({sequence}) => sequence),
      2,
    );
    call.give(stack, isBatchFirst ? undefined : [2, 0, 1, 3]);
    const states = call.planner.keysOf(call.node).length - 1;
    for (const state of range(states)) {
      const last: string[] = [];
      for (const {sequence, layer, isReverse} of results) {
        last.push(states > 1 ? `${layer}:${state + 1}` : await stateOf(call, sequence, isReverse));
      }
      call.low.give(call.node.name, state + 1, await stacked(call, last, 1), isBatchFirst ? undefined : [1, 0, 2]);
    }
  };
}

function checkSettings(call: OnnxCall): void {
  call.floats();
  const faults = [
    ...(call.attribute('clip') === undefined ? [] : ['has clip']),
    ...(call.int('input_forget', 0) === 0 ? [] : ['has input_forget']),
    ...(call.has(4) && !areWhole(call) ? ['takes lengths of sequences'] : []),
    ...(call.has(7) && !isZero(call, 7) ? ['has peepholes'] : []),
    ...([5, 6].some(i => call.has(i) && call.value(i).kind === 'constant' && !isZero(call, i))
      ? ['starts from constant states']
      : []),
  ];
  if (faults.length > 0) {
    call.refuse(faults.join(', '));
  }
}

/** Whether every sequence is as long as all of them. */
function areWhole(call: OnnxCall): boolean {
  const time = call.int('layout', 0) === 1 ? 1 : 0;
  const lengths = call.planner.numbersAt(call.key(4));
  return (
    lengths !== undefined &&
    ([0, 1] as const).every(p => lengths.pair[p].every(length => length === call.shapeAt(0, p)[time]))
  );
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
  isBatchFirst: boolean;
}

/** The outputs of one direction: a sequence in the order of time, and the layer, whose other outputs are its states. */
interface OfWay {
  sequence: string;
  layer: string;
  isReverse: boolean;
}

/** The states of the layers that a direction starts from; none if they are zeros. */
async function statesOf(call: OnnxCall, kind: Kind, {place, isBatchFirst}: Way): Promise<string[]> {
  const all = kind === LSTM ? [5, 6] : [5];
  const given = all.filter(i => call.has(i) && !isZero(call, i));
  const states: string[] = [];
  for (const index of given) {
    // Held as [batch, direction, units].
    const held = await call.as(index, isBatchFirst ? [0, 1, 2] : [1, 0, 2]);
    const at = (to: number) => call.constant([0, place + to, 0]);
    states.push(
      await call.emit('StridedSlice', [held, at(0), at(1), call.constant([1, 1, 1])], {
        begin_mask: attribute.int(5),
        end_mask: attribute.int(5),
        shrink_axis_mask: attribute.int(2),
        ellipsis_mask: attribute.int(0),
        new_axis_mask: attribute.int(0),
      }),
    );
  }
  const [state] = states;
  if (state !== undefined && given.length < all.length) {
    states.splice(given[0] === 5 ? 1 : 0, 0, await call.emit('ZerosLike', [state]));
  }
  return states;
}

/** Plans the layer of one direction. */
async function oneWay(call: OnnxCall, kind: Kind, x: string, way: Way): Promise<OfWay> {
  const {place, isReverse, units} = way;
  const {gates} = kind;
  const {className, bias} = kind.layer(call);
  const names = (call.attribute('activations')?.strings ?? []).map(name => name.toLowerCase());
  const count = kind.activations.length;
  const own = names.length === 0 ? kind.activations : names.slice(place * count, (place + 1) * count);
  const known = ['tanh', 'sigmoid', 'relu', 'softsign', 'softplus'];
  if (own.some(name => !known.includes(name)) || (count === 3 && own[1] !== own[2])) {
    call.refuse(`has the activations ${own.join(', ')}`);
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
    call.low.weight(call.node.name, index, how) ?? call.refuse(`needs a constant input ${index}`);
  const isStateful = call.planner.keysOf(call.node).length > 2;
  const config: tf.serialization.ConfigDict = {
    units,
    returnSequences: true,
    returnState: isStateful,
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
  const given = [x, ...(await statesOf(call, kind, way))];
  const name = place > 0 ? 'backward' : undefined;
  const layer = call.layer(className, config, given, weights, name, isStateful ? 3 : 1);
  return {sequence: isReverse ? await call.emit('ReverseV2', [layer, call.constant([1])]) : layer, layer, isReverse};
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
