import type * as tf from '@tensorflow/tfjs';
import {sizeOf, transpose, type Values} from '../../../platform/formats/layout';
import type {Cell, InnerLayers} from '../../../platform/tfjs/layerFields';
import {range} from '../lower/lowering';
import {type GraphWriter, type Source, Tensor} from '../write/graphWriter';
import {Fraction, TYPE} from '../write/messages';
import {convolvedSteps, type RecurrentLayer} from './convolvedSteps';
import {unrolledSteps} from './unrolledSteps';
import type {Call, Write} from './call';
import {stepMask} from './masks';

interface BidirectionalLayer extends RecurrentLayer {
  mergeMode?: 'concat' | 'sum' | 'mul' | 'ave' | null;
}

/** An operation of ONNX, and the order in which it has the gates of a cell. */
interface Operation {
  op: 'LSTM' | 'GRU' | 'RNN';
  gates: readonly number[];
  /** How many states there are. */
  states: 1 | 2;
  resetsAfter?: boolean;
}

const OPERATIONS: Readonly<Record<string, Operation>> = {
  LSTMCell: {op: 'LSTM', gates: [0, 3, 1, 2], states: 2},
  GRUCell: {op: 'GRU', gates: [0, 1, 2], states: 1},
  'tfjs-lora>GRUCell': {op: 'GRU', gates: [0, 1, 2], states: 1, resetsAfter: true},
  SimpleRNNCell: {op: 'RNN', gates: [0], states: 1},
};

/** Class of an activation → its name in the operation, and its settings. */
const ACTIVATIONS: Readonly<Record<string, readonly [name: string, alpha?: number, beta?: number]>> = {
  tanh: ['Tanh'],
  sigmoid: ['Sigmoid'],
  hardSigmoid: ['HardSigmoid', 0.2, 0.5],
  relu: ['Relu'],
  elu: ['Elu', 1],
  softsign: ['Softsign'],
  softplus: ['Softplus'],
  linear: ['Affine', 1, 0],
};

/** The outputs of a pass over a sequence: all steps `[steps, directions, batch, units]`, and the last states. */
interface Pass {
  all: string;
  last: string[];
}

/** A pass, once in each direction. */
function pass(
  out: GraphWriter,
  call: Call,
  cells: readonly tf.layers.Layer[],
  {x, direction, initial, lengths}: {x: string; direction: string; initial: readonly string[]; lengths: string},
): Pass {
  if (out.unrollsSteps) {
    return unrolledPass(out, call, cells, {x, direction, initial});
  }
  const [first] = cells as [tf.layers.Layer];
  const className = first.getClassName();
  const operation = Object.hasOwn(OPERATIONS, className) ? OPERATIONS[className] : undefined;
  if (operation === undefined) {
    out.refuse(`The class ${className} cannot be written.`);
    return {all: x, last: [x, x]};
  }
  const {op, gates, states, resetsAfter = false} = operation;
  const fields = cells.map(cell => call.fields<Cell>(cell));
  const units = (fields[0]?.recurrentKernel.shape[0] as number | undefined) ?? 1;
  const inputs = (fields[0]?.kernel.shape[0] as number | undefined) ?? 1;
  const stacked = (
    name: string,
    sources: readonly Source[],
    shape: readonly number[],
    arrange: (values: Values) => Values,
  ) => out.weights(name, sources, [cells.length, ...shape], values => stackedValues(values.map(arrange)));
  const byGate = (values: Values) => gatesIn(transpose(values, [1, 0]), gates);
  const w = stacked(
    'kernel',
    fields.map(({kernel}) => kernel),
    [gates.length * units, inputs],
    byGate,
  );
  const r = stacked(
    'recurrent_kernel',
    fields.map(({recurrentKernel}) => recurrentKernel),
    [gates.length * units, units],
    byGate,
  );
  const biases = fields.flatMap(({bias}) => bias ?? []);
  const b =
    biases.length === 0
      ? ''
      : stacked('bias', biases, [2 * gates.length * units], values =>
          resetsAfter ? values : withZeros(gatesIn(values, gates)),
        );
  const activations = fields.flatMap(({activation, recurrentActivation}) => [
    ...(recurrentActivation === undefined ? [] : [recurrentActivation]),
    activation,
    ...(op === 'LSTM' ? [activation] : []),
  ]);
  const named = activations.map(choice => {
    const name = choice.getClassName();
    if (!Object.hasOwn(ACTIVATIONS, name)) {
      out.refuse(`The activation ${name} cannot be written in a cell.`);
    }
    return ACTIVATIONS[name] ?? ['Tanh'];
  });
  const [alphas, betas] = [1, 2].map(slot => named.flatMap(entry => entry[slot] ?? [])) as [number[], number[]];
  const last = [b, lengths, ...initial];
  while (last.at(-1) === '') {
    last.pop();
  }
  const [all = '', ...ends] = out.nodeOf(
    op,
    [x, w, r, ...last],
    {
      hidden_size: units,
      direction,
      activations: named.map(([name]) => name),
      ...(alphas.length > 0 && {activation_alpha: new Fraction(alphas)}),
      ...(betas.length > 0 && {activation_beta: new Fraction(betas)}),
      ...(resetsAfter && {linear_before_reset: 1}),
    },
    1 + states,
  );
  return {all, last: ends};
}

/** A pass without an operation for it, once in each direction. */
function unrolledPass(
  out: GraphWriter,
  call: Call,
  cells: readonly tf.layers.Layer[],
  {x, direction, initial}: {x: string; direction: string; initial: readonly string[]},
): Pass {
  const states = initial.map(state => (cells.length === 1 ? [state] : out.nodeOf('Split', [state], {axis: 0}, 2)));
  const passes = cells.map((cell, i) =>
    unrolledSteps(out, call, cell, {
      x,
      isReverse: direction === 'reverse' || i === 1,
      initial: states.map(parts => out.squeeze(parts[i] ?? '', [0])),
    }),
  );
  const all = passes.map(({steps}) => joinedAlong(out, steps.map(step => out.unsqueeze(step, [0, 1])), 0)); // prettier-ignore
  const last = (passes[0]?.last ?? []).map(
    (_, state) =>
    joinedAlong(out, passes.map(pass => out.unsqueeze(pass.last[state] ?? '', [0])), 0), // prettier-ignore
  );
  return {all: joinedAlong(out, all, 1), last};
}

function stackedValues(parts: readonly Values[]): Values {
  const size = sizeOf(parts[0]?.shape ?? []);
  const data = new Float32Array(parts.length * size);
  parts.forEach((values, i) => data.set(values.data, i * size));
  return {shape: [parts.length, ...(parts[0]?.shape ?? [])], data};
}

/** The gates, which are concatenated along the first axis, in another order. */
function gatesIn({shape, data}: Values, gates: readonly number[]): Values {
  const size = data.length / gates.length;
  return {shape, data: Float32Array.from(gates.flatMap(gate => [...data.subarray(gate * size, (gate + 1) * size)]))};
}

/** The bias of the states, which stock layers do not have. */
function withZeros({data}: Values): Values {
  const both = new Float32Array(2 * data.length);
  both.set(data);
  return {shape: [both.length], data: both};
}

/** A sequence with masked steps: how it is packed, and which results are read. */
interface Packing {
  lengths: string;
  pack: (x: string) => string;
  unpack: (all: string) => string;
}

/**
 * Masked steps are moved after the others, where the operation does not read them, because stock layers keep their
 * states at these steps. Their result is that of the last step before that is not masked, or zeros.
 *
 * @param mask bool, `[batch, steps]`.
 */
function packing(out: GraphWriter, mask: string, isBackwards: boolean): Packing {
  const seen = out.once(`seen ${mask}`, () => out.cast(mask, TYPE.float)); // [batch, steps]
  const lengths = out.once(`lengths ${mask}`, () => out.cast(out.reduce('ReduceSum', seen, [1]), TYPE.int32));
  const axis = out.ints([1], []);
  // The number of unmasked steps up to each step, by which packed steps are ordered.
  const counted = out.once(`counted ${mask} ${isBackwards}`, () =>
    out.node('CumSum', [seen, axis], {reverse: Number(isBackwards)}),
  );
  const order = out.once(`order ${mask}`, () => {
    const steps = out.sizeOf(mask, 1);
    const forward = out.node('CumSum', [seen, axis]);
    // Masked steps get the lowest scores, and unmasked steps decreasing ones.
    const scores = out.node('Div', [seen, out.node('Add', [forward, out.float(1)])]);
    return out.nodeOf('TopK', [scores, steps], {axis: 1}, 2)[1] as string;
  });
  const gather = (x: string, places: string) => {
    const index = out.unsqueeze(places, [2]);
    const wideIndex = out.node('Expand', [index, out.node('Concat', [out.ints([1, 1]), out.sizeOf(x, 2)], {axis: 0})]);
    return out.node('GatherElements', [x, wideIndex], {axis: 1});
  };
  return {
    lengths,
    pack: x => gather(x, order),
    unpack: all => {
      const some = out.node('Max', [counted, out.float(1)]);
      // Backwards, the last unmasked step comes first.
      const place = isBackwards
        ? out.node('Sub', [out.unsqueeze(out.cast(lengths, TYPE.float), [1]), some])
        : out.node('Sub', [some, out.float(1)]);
      const clamped = out.node('Max', [place, out.float(0)]);
      const gathered = gather(all, out.cast(clamped, TYPE.int64));
      const hasAny = out.cast(out.node('Greater', [counted, out.float(0)]), TYPE.float);
      return out.node('Mul', [gathered, out.unsqueeze(hasAny, [2])]);
    },
  };
}

/** The steps of a sequence first. */
const STEPS_FIRST = [1, 0, 2];

const recurrent: Write = (out, call) => {
  const layer = call.fields<RecurrentLayer>();
  const {cell, returnSequences, returnState, goBackwards, stateful} = layer;
  if (stateful) {
    out.refuse('A stateful layer cannot be written.');
  }
  const cells = call.fields<InnerLayers>(cell).cells ?? [cell as tf.layers.Layer];
  if (cells.length > 1 && (returnState || call.inputs.length > 1)) {
    out.refuse('The states of several cells cannot be written.');
  }
  checkStates(out, call);
  const direction = goBackwards ? 'reverse' : 'forward';
  const mask = stepMask(out, call, goBackwards);
  const packed = mask === undefined ? undefined : packing(out, mask, goBackwards);
  let x = stepsFirst(out, call.input, packed);
  let result: Pass | undefined;
  for (const cell of cells) {
    const initial = call.inputs.slice(1).map(state => out.unsqueeze(out.plain(state), [0]));
    result = pass(out, call, [cell], {x, direction, initial, lengths: packed?.lengths ?? ''});
    x = out.squeeze(result.all, [1]);
  }
  const {last} = result as Pass;
  const states = last.map(state => out.squeeze(state, [0]));
  const [final = ''] = states;
  const outputs = [returnSequences ? sequence(out, call, x, {packed, isReversed: goBackwards}) : call.output(final)];
  if (returnState) {
    outputs.push(...states.map((state, i) => new Tensor(call.shapes[i + 1] ?? [], TYPE.float, state)));
  }
  call.outputMask = returnSequences ? call.masks[0] : undefined;
  return outputs;
};

function stepsFirst(out: GraphWriter, input: Tensor, packed: Packing | undefined): string {
  return packed === undefined
    ? out.held(input, STEPS_FIRST)
    : out.node('Transpose', [packed.pack(out.plain(input))], {perm: STEPS_FIRST});
}

/** All steps `[steps, batch, units]`, in the order in which they were computed. */
function sequence(
  out: GraphWriter,
  call: Call,
  all: string,
  {packed, isReversed}: {packed: Packing | undefined; isReversed: boolean},
): Tensor {
  if (packed === undefined) {
    return call.output(isReversed ? reversed(out, all, 0) : all, STEPS_FIRST);
  }
  const steps = packed.unpack(out.node('Transpose', [all], {perm: STEPS_FIRST}));
  return call.output(isReversed ? reversed(out, steps, 1) : steps);
}

function reversed(out: GraphWriter, x: string, axis: number): string {
  return out.slice(x, axis, -1, Number.MIN_SAFE_INTEGER, -1);
}

/** The outputs of both directions, merged. */
function merged(
  out: GraphWriter,
  [one, other]: readonly [string, string],
  mode: 'concat' | 'sum' | 'mul' | 'ave',
  axis: number,
): string {
  switch (mode) {
    case 'concat':
      return out.node('Concat', [one, other], {axis});
    case 'mul':
      return out.node('Mul', [one, other]);
    default: {
      const sum = out.node('Add', [one, other]);
      return mode === 'sum' ? sum : out.node('Mul', [sum, out.float(0.5)]);
    }
  }
}

function joinedAlong(out: GraphWriter, names: readonly string[], axis: number): string {
  return out.node('Concat', names, {axis});
}

/** The two directions, which are an axis of the result. */
function directions(out: GraphWriter, x: string, axis: number): [string, string] {
  return out.nodeOf('Split', [x], {axis}, 2).map(half => out.squeeze(half, [axis])) as [string, string];
}

/** Both directions. Each reads its own mask if the masks differ, which takes an operation each. */
function bothPasses(
  out: GraphWriter,
  call: Call,
  cells: readonly tf.layers.Layer[],
  {initial, ways, isOne}: {initial: readonly string[]; ways: readonly Packing[]; isOne: boolean},
): Pass {
  const passOf = (direction: string, [way]: readonly Packing[], layers = cells): Pass =>
    pass(out, call, layers, {x: stepsFirst(out, call.input, way), direction, initial, lengths: way?.lengths ?? ''});
  if (isOne) {
    return passOf('bidirectional', ways);
  }
  const [one, other] = [
    passOf('forward', ways, cells.slice(0, 1)),
    passOf('reverse', ways.slice(1), cells.slice(1)),
  ] as const;
  return {
    ...one,
    all: joinedAlong(out, [one.all, other.all], 1),
    last: one.last.map((state, i) => joinedAlong(out, [state, other.last[i] ?? ''], 0)),
  };
}

const bidirectional: Write = (out, call) => {
  const layer = call.fields<BidirectionalLayer>();
  const {forwardLayer, backwardLayer, mergeMode = null, returnSequences, returnState} = layer;
  const parts = [forwardLayer, backwardLayer] as [tf.layers.Layer, tf.layers.Layer];
  const [forward, backward] = parts.map(side => call.fields<RecurrentLayer>(side)) as [RecurrentLayer, RecurrentLayer];
  const cells = [forward, backward].map(({cell}) => cell as tf.layers.Layer);
  if (
    forward.goBackwards ||
    forward.stateful ||
    cells.some(cell => call.fields<InnerLayers>(cell).cells !== undefined)
  ) {
    out.refuse('A layer inside that goes backwards, is stateful, or has several cells cannot be written.');
  }
  checkStates(out, call);
  const states = call.inputs.slice(1).map(state => out.unsqueeze(out.plain(state), [0]));
  const half = states.length / 2;
  const initial = range(half).map(i => out.node('Concat', [states[i] ?? '', states[i + half] ?? ''], {axis: 0}));
  const masks = [false, true].flatMap(isBackwards => stepMask(out, call, isBackwards) ?? []);
  const ways = masks.map((mask, i) => packing(out, mask, i === 1));
  const {all, last} = bothPasses(out, call, cells, {initial, ways, isOne: masks[0] === masks[1]});
  const isPlain = !returnSequences || ways.length > 0;
  const both = returnSequences
    ? directions(out, all, 1).map((steps, i) =>
        ways[i] === undefined ? steps : ways[i].unpack(out.node('Transpose', [steps], {perm: STEPS_FIRST})),
      )
    : directions(out, last[0] ?? '', 0);
  const order = isPlain ? range(returnSequences ? 3 : 2) : STEPS_FIRST;
  const names = mergeMode === null ? both : [merged(out, both as [string, string], mergeMode, order.length - 1)];
  const seen = call.layer.getClassName() === 'Bidirectional' || !returnSequences ? undefined : call.mask?.name;
  const shown = seen && out.unsqueeze(out.cast(seen, TYPE.float), [2]);
  const results = names.map(name => (shown === undefined ? name : out.node('Mul', [name, shown])));
  const ends = returnState ? last.map(state => directions(out, state, 0)) : [];
  const ordered = [0, 1].flatMap(direction => ends.map(halves => halves[direction] ?? ''));
  const outputs = [
    ...results.map((name, i) => new Tensor(call.shapes[i] ?? [], TYPE.float, name, order)),
    ...ordered.map((name, i) => new Tensor(call.shapes[results.length + i] ?? [], TYPE.float, name)),
  ];
  call.outputMask = returnSequences ? call.masks[0] : undefined;
  return outputs;
};

/** Masked steps before the first unmasked one return zeros, where stock layers return their initial states. */
function checkStates(out: GraphWriter, {mask, inputs}: Call): void {
  if (mask !== undefined && inputs.length > 1) {
    out.refuse('A mask and states cannot be written together. Leave one of them out.');
  }
}

export const RECURRENT_LAYERS: Readonly<Record<string, Write>> = {
  RNN: recurrent,
  SimpleRNN: recurrent,
  LSTM: recurrent,
  GRU: recurrent,
  'tfjs-lora>GRU': recurrent,
  Bidirectional: bidirectional,
  'tfjs-lora>Bidirectional': bidirectional,
  ConvLSTM2D: convolvedSteps,
};
