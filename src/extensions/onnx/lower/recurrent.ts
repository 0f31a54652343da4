import type * as tf from '@tensorflow/tfjs';
import {registerResetAfterGRU} from '../../../core/keras/gruResetAfter';
import type {Rule} from './activations';
import {type WeightLayout, range} from './lowering';
import {attribute, type OnnxCall} from './onnxCall';

/** A kind of recurrent layer. */
interface Kind {
  /** The ONNX index of each gate, in the order of tfjs. */
  gates: readonly number[];
  /** The default activations. */
  activations: readonly string[];
  layer: (call: OnnxCall) => {className: string; bias: 'added' | 'rows'};
}

const LSTM: Kind = {
  gates: [0, 2, 3, 1], // ONNX has i, o, f, c.
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

/** Plans a recurrent layer for each direction. Its output is stored as `[batch, time, direction, units]`. */
function recurrent(kind: Kind): Rule {
  return async call => {
    const isBatchFirst = call.int('layout', 0) === 1;
    const units = call.int('hidden_size', call.size(2, 2) ?? 0);
    const direction = call.text('direction', 'forward');
    checkSettings(call);
    const x = await call.inputIn(0, isBatchFirst ? [0, 1, 2] : [1, 0, 2]);
    const directions = direction === 'bidirectional' ? [false, true] : [direction === 'reverse'];
    const results: DirectionOutputs[] = [];
    for (const [directionIndex, isReverse] of directions.entries()) {
      results.push(await planDirection(call, kind, x, {directionIndex, isReverse, units, isBatchFirst}));
    }
    const stack = await stackDirections(
      call,
      results.map(({sequence}) => sequence),
      2,
    );
    call.setOutput(stack, isBatchFirst ? undefined : [2, 0, 1, 3]);
    const states = call.planner.keysOf(call.node).length - 1;
    for (const state of range(states)) {
      const last: string[] = [];
      for (const {sequence, layer, isReverse} of results) {
        last.push(states > 1 ? `${layer}:${state + 1}` : await lastState(call, sequence, isReverse));
      }
      call.lowering.setOutput(
        call.node.name,
        state + 1,
        await stackDirections(call, last, 1),
        isBatchFirst ? undefined : [1, 0, 2],
      );
    }
  };
}

function checkSettings(call: OnnxCall): void {
  call.floats();
  const faults = [
    ...(call.attribute('clip') === undefined ? [] : ['The node has clip.']),
    ...(call.int('input_forget', 0) === 0 ? [] : ['The node has input_forget.']),
    ...(call.has(4) && !areFullLength(call) ? ['The node takes lengths of sequences.'] : []),
    ...(call.has(7) && !isZero(call, 7) ? ['The node has peepholes.'] : []),
    ...([5, 6].some(i => call.has(i) && call.value(i).kind === 'constant' && !isZero(call, i))
      ? ['The node starts from constant states.']
      : []),
  ];
  if (faults.length > 0) {
    call.refuse(faults.join(' '));
  }
}

/** Whether the input of lengths says that every sequence has the full length. */
function areFullLength(call: OnnxCall): boolean {
  const time = call.int('layout', 0) === 1 ? 1 : 0;
  const lengths = call.planner.numbersAt(call.key(4));
  return (
    lengths !== undefined &&
    ([0, 1] as const).every(p => lengths.pair[p].every(length => length === call.shapeAt(0, p)[time]))
  );
}

/** Whether an input is zeros for both trial sizes. */
function isZero(call: OnnxCall, index: number): boolean {
  const value = call.value(index);
  const pair = value.kind === 'shaped' ? value.pair : value.kind === 'constant' ? [value] : [];
  return (
    pair.length > 0 &&
    pair.every(({values, tensor}) => Array.from(values ?? tensor.dataSync()).every(entry => entry === 0))
  );
}

interface DirectionSettings {
  directionIndex: number;
  isReverse: boolean;
  units: number;
  isBatchFirst: boolean;
}

/** The outputs of one direction: the sequence in the order of time, and the layer, whose other outputs are states. */
interface DirectionOutputs {
  sequence: string;
  layer: string;
  isReverse: boolean;
}

/** The initial states of a direction, as inputs of its layer; none if they are zeros. */
async function statesOf(
  call: OnnxCall,
  kind: Kind,
  {directionIndex, isBatchFirst}: DirectionSettings,
): Promise<string[]> {
  const all = kind === LSTM ? [5, 6] : [5];
  const stateInputs = all.filter(i => call.has(i) && !isZero(call, i));
  const states: string[] = [];
  for (const index of stateInputs) {
    // [batch, direction, units]
    const batchFirst = await call.inputIn(index, isBatchFirst ? [0, 1, 2] : [1, 0, 2]);
    const at = (to: number) => call.constant([0, directionIndex + to, 0]);
    states.push(
      await call.emit('StridedSlice', [batchFirst, at(0), at(1), call.constant([1, 1, 1])], {
        begin_mask: attribute.int(5),
        end_mask: attribute.int(5),
        shrink_axis_mask: attribute.int(2),
      }),
    );
  }
  const [state] = states;
  if (state !== undefined && stateInputs.length < all.length) {
    states.splice(stateInputs[0] === 5 ? 1 : 0, 0, await call.emit('ZerosLike', [state]));
  }
  return states;
}

/** Plans the recurrent layer of one direction. */
async function planDirection(call: OnnxCall, kind: Kind, x: string, way: DirectionSettings): Promise<DirectionOutputs> {
  const {directionIndex, isReverse, units} = way;
  const {gates} = kind;
  const {className, bias} = kind.layer(call);
  const names = (call.attribute('activations')?.strings ?? []).map(name => name.toLowerCase());
  const count = kind.activations.length;
  const activations =
    names.length === 0 ? kind.activations : names.slice(directionIndex * count, (directionIndex + 1) * count);
  const supported = ['tanh', 'sigmoid', 'relu', 'softsign', 'softplus'];
  if (activations.some(name => !supported.includes(name)) || (count === 3 && activations[1] !== activations[2])) {
    call.refuse(`The node has the activations ${activations.join(', ')}.`);
  }
  const columns = (index: number) => call.size(index, 2) ?? 0;
  const rows = [directionIndex, 1] as const;
  const withGates = (...sizes: number[]) => ({finalShape: [...sizes, gates.length * units]});
  const matrix = (index: number): WeightLayout => ({
    rows,
    shape: [gates.length, units, columns(index)],
    rowOrder: gates,
    perm: [2, 0, 1],
    ...withGates(columns(index)),
  });
  const biases: WeightLayout =
    bias === 'rows'
      ? {rows, shape: [2, gates.length * units]}
      : {rows, shape: [2, gates.length, units], sumsHalves: true, rowOrder: gates, ...withGates()};
  const weight = (index: number, how: WeightLayout) =>
    call.lowering.weight(call.node.name, index, how) ?? call.refuse(`The node needs a constant input ${index}.`);
  const isStateful = call.planner.keysOf(call.node).length > 2;
  const config: tf.serialization.ConfigDict = {
    units,
    returnSequences: true,
    returnState: isStateful,
    goBackwards: isReverse,
    useBias: call.has(3),
    activation: activations.at(-1) ?? 'tanh',
    ...(count > 1 && {recurrentActivation: activations[0] ?? 'sigmoid'}),
    kernelInitializer: 'zeros',
    recurrentInitializer: 'zeros',
  };
  const weights = {
    kernel: weight(1, matrix(1)),
    recurrent_kernel: weight(2, matrix(2)),
    bias: call.has(3) ? weight(3, biases) : undefined,
  };
  const inputs = [x, ...(await statesOf(call, kind, way))];
  const name = directionIndex > 0 ? 'backward' : undefined;
  const layer = call.layer(className, config, inputs, weights, name, isStateful ? 3 : 1);
  return {sequence: isReverse ? await call.emit('ReverseV2', [layer, call.constant([1])]) : layer, layer, isReverse};
}

/** The state after the last step: `[batch, units]`. */
async function lastState(call: OnnxCall, sequence: string, isReverse: boolean): Promise<string> {
  const at = call.constant([0, isReverse ? 0 : -1, 0]);
  return call.emit('StridedSlice', [sequence, at, call.constant([0, isReverse ? 1 : 0, 0]), call.constant([1, 1, 1])], {
    begin_mask: attribute.int(5),
    end_mask: attribute.int(isReverse ? 5 : 7),
    shrink_axis_mask: attribute.int(2),
  });
}

/** Stacks the results of the directions along a new axis. */
async function stackDirections(call: OnnxCall, parts: readonly string[], axis: number): Promise<string> {
  return parts.length === 1
    ? call.emit('ExpandDims', [parts[0] as string, call.scalar(axis, 'int32')])
    : call.emit('Pack', parts, {axis: attribute.int(axis), N: attribute.int(parts.length)});
}

export const lstm = recurrent(LSTM);
export const gru = recurrent(GRU);
export const rnn = recurrent(RNN);
