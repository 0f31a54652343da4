import {range} from '../lower/lowering';
import type {GraphWriter, Source, Tensor} from '../write/graphWriter';
import {TYPE} from '../write/messages';
import {gelu, swish, tanhGelu} from './activations';
import {attention, rotatedPatches, softCapped} from './attention';
import type {Call, Write} from './call';
import {FEATURE_LAYERS} from './features';
import {distanceScores, relativeBias} from './distances';
import {patchSequence} from './patches';
import {biased, indices, normalizedRows} from './shapes';
import {SOUND_LAYERS} from './sounds';
import {WINDOW_LAYERS} from './windows';

/** The fields of a transformer layer with a table. */
interface TableLayer {
  embeddings: Source;
}

/** A tensor of 1 where a number is not another, and 0 elsewhere. */
function differing(out: GraphWriter, tensor: Tensor, from: number): string {
  return out.once(`${out.plain(tensor)} but ${from}`, () => {
    const x = out.plain(tensor);
    const other = tensor.type === TYPE.float ? out.float(from) : out.cast(out.float(from), tensor.type);
    return out.cast(out.node('Not', [out.node('Equal', [x, other])]), TYPE.float);
  });
}

const positionEmbedding: Write = (out, call) => {
  const {embeddings, offset, padding} = call.fields<TableLayer & {offset: number; padding: number | null}>();
  const [states, ids] = call.inputs as [Tensor, Tensor?];
  const table = out.weight('embeddings', embeddings);
  const x = out.plain(states);
  if (padding === null || ids === undefined) {
    const end = out.node('Add', [out.sizeOf(x, 1), out.ints([offset])]);
    const rows = out.node('Slice', [table, out.ints([offset]), end, out.ints([0])]);
    return call.output(out.node('Add', [x, rows]));
  }
  const counts = differing(out, ids, padding);
  const order = out.node('Mul', [out.node('CumSum', [counts, out.ints([1], [])]), counts]);
  const rows = out.cast(out.node('Add', [order, out.float(offset - 1)]), TYPE.int64);
  return call.output(out.node('Add', [x, out.node('Gather', [table, rows])]));
};

/** A table for a square grid, resized to the grid of each image: bilinear, with antialiasing. */
const gridPositionEmbedding: Write = (out, call) => {
  const {edge, embeddings} = call.fields<TableLayer & {edge: number}>();
  const [states, grids] = call.inputs as [Tensor, Tensor];
  const x = out.plain(states);
  const sizes = out.unsqueeze(out.cast(out.plain(grids), TYPE.float), [1]); // [batch, 1, 2]
  const columns = out.slice(sizes, 2, 1, 2);
  const places = out.unsqueeze(out.cast(out.positions(out.sizeOf(x, 1)), TYPE.float), [0, 2]); // [1, positions, 1]
  const middles = out.node('Add', [places, out.float(0.5)]);
  const row = out.node('Floor', [out.node('Div', [middles, columns])]);
  const column = out.node('Sub', [places, out.node('Mul', [row, columns])]);
  const count = out.node('Mul', [out.slice(sizes, 2, 0, 1), columns]);
  const isPatch = out.cast(out.node('Less', [places, count]), TYPE.float);
  const own = out.node('Mul', [out.node('Concat', [row, column], {axis: 2}), isPatch]); // [batch, positions, 2]
  const scale = out.node('Div', [out.float(edge), sizes]);
  const scaled = out.node('Mul', [out.node('Add', [own, out.float(0.5)]), scale]);
  const centers = out.unsqueeze(out.node('Sub', [scaled, out.float(0.5)]), [3]);
  const distances = out.node('Abs', [out.node('Sub', [out.floats(range(edge)), centers])]);
  const support = out.unsqueeze(out.node('Max', [scale, out.float(1)]), [3]);
  const near = out.node('Relu', [out.node('Sub', [out.float(1), out.node('Div', [distances, support])])]);
  const weights = out.node('Div', [near, out.reduce('ReduceSum', near, [3], true)]); // [batch, positions, 2, edge]
  const [down, across] = [0, 1].map(axis => out.slice(weights, 2, axis, axis + 1)) as [string, string];
  const product = out.node('Mul', [out.reshape(down, [0, 0, edge, 1]), across]);
  const rows = out.node('MatMul', [out.reshape(product, [0, 0, edge * edge]), out.weight('embeddings', embeddings)]);
  return call.output(out.node('Add', [x, rows]));
};

const typeEmbedding: Write = (out, call) => {
  const [states, types] = call.inputs as [Tensor, Tensor?];
  const table = out.weight('embeddings', call.fields<TableLayer>().embeddings);
  const rows = types === undefined ? out.slice(table, 0, 0, 1) : out.node('Gather', [table, indices(out, types)]);
  return call.output(out.node('Add', [out.plain(states), rows]));
};

const rowNormalization: Write = (out, call) => {
  const {epsilon, addsOne, centered, size, gamma, beta} = call.fields<{
    epsilon: number;
    addsOne: boolean;
    centered: boolean;
    size: number | undefined;
    gamma: Source;
    beta: Source | null;
  }>();
  const [first, residual] = call.inputs.map(tensor => out.plain(tensor)) as [string, string?];
  const x = residual === undefined ? first : out.node('Add', [first, residual]);
  const weight = out.weight('gamma', gamma);
  const scale = addsOne ? out.node('Add', [weight, out.float(1)]) : weight;
  const how = {epsilon, centered, scale, shift: beta === null ? undefined : out.weight('beta', beta)};
  const {rank, shape} = call.input;
  const width = shape[rank - 1] ?? 0;
  if (size === undefined || size === width) {
    return call.output(normalizedRows(out, x, rank, {...how, axes: [rank - 1]}));
  }
  const pieces = out.reshape(x, [...range(rank - 1).map(() => 0), width / size, size]);
  const y = normalizedRows(out, pieces, rank + 1, {...how, axes: [rank]});
  return call.output(out.reshape(y, [...range(rank - 1).map(() => 0), width]));
};

const gatedActivation: Write = (out, call) => {
  const {activation, approximate, packed, gateLast} = call.fields<{
    activation: string;
    approximate: boolean;
    packed: boolean;
    gateLast: boolean;
  }>();
  const parts = packed
    ? out.nodeOf('Split', [out.plain(call.input)], {axis: call.input.rank - 1}, 2)
    : call.inputs.map(tensor => out.plain(tensor));
  const [first = '', second = ''] = parts;
  const [gate, up] = gateLast ? [second, first] : [first, second];
  const opened = activation === 'silu' ? swish(out, gate) : approximate ? tanhGelu(out, gate) : gelu(out, gate);
  return call.output(out.node('Mul', [opened, up]));
};

const hiddenPositions: Write = (out, call) => {
  const [states, mask, values] = call.inputs as [Tensor, Tensor, Tensor?];
  const shown = out.unsqueeze(out.shown(mask), [2]);
  const seen = out.node('Mul', [out.plain(states), shown]);
  if (values === undefined) {
    return call.output(seen);
  }
  const mean = out.reduce('ReduceMean', out.plain(values), [1], true);
  const hidden = out.node('Sub', [out.float(1), shown]);
  return call.output(out.node('Add', [seen, out.node('Mul', [hidden, mean])]));
};

/** The mean, the first or the last of the positions that count. */
const sequencePooling: Write = (out, call) => {
  const {mode, padding, skip} = call.fields<{mode: string; padding: number | null; skip: number}>();
  const [states, mask, ids] = call.inputs as [Tensor, Tensor?, Tensor?];
  const x = out.plain(states);
  const ones = () => {
    const shape = out.slice(out.node('Shape', [x]), 0, 0, 2);
    return out.node('Expand', [out.float(1), shape]);
  };
  const shown = mask === undefined ? ones() : out.shown(mask);
  // The number of skipped positions is known; they do not count.
  const late = () => {
    const places = out.cast(out.positions(out.sizeOf(x, 1)), TYPE.float);
    return out.cast(out.node('Not', [out.node('Less', [places, out.float(skip)])]), TYPE.float);
  };
  const seen = skip === 0 ? shown : out.node('Mul', [shown, late()]);
  const counts =
    padding === null || ids === undefined
      ? seen
      : withFirst(out, out.node('Mul', [seen, differing(out, ids, padding)]));
  const weights = weightsOf(out, counts, mode);
  const product = out.node('MatMul', [out.unsqueeze(weights, [1]), x]);
  return call.output(out.squeeze(product, [1]));
};

/** In a sequence that is masked completely, the first position counts. */
function withFirst(out: GraphWriter, counts: string): string {
  const none = out.node('Sub', [out.float(1), out.reduce('ReduceMax', counts, [1], true)]);
  const places = out.positions(out.sizeOf(counts, 1));
  const isFirst = out.cast(out.node('Equal', [places, out.ints([0], [])]), TYPE.float);
  return out.node('Max', [counts, out.node('Mul', [isFirst, none])]);
}

function weightsOf(out: GraphWriter, seen: string, mode: string): string {
  const sum = out.reduce('ReduceSum', seen, [1], true);
  if (mode === 'mean') {
    return out.node('Div', [seen, out.node('Max', [sum, out.float(1)])]);
  }
  const reverse = Number(mode === 'first');
  const order = out.node('CumSum', [seen, out.ints([1], [])], {reverse});
  return out.node('Mul', [seen, out.cast(out.node('Equal', [order, sum]), TYPE.float)]);
}

const tokenState: Write = (out, call) => {
  const {token} = call.fields<{token: number | null}>();
  const [states, ids] = call.inputs as [Tensor, Tensor];
  const found = token === null ? indices(out, ids) : out.node('Sub', [out.float(1), differing(out, ids, token)]);
  const place = out.node('ArgMax', [found], {axis: 1, keepdims: 1}); // [batch, 1]
  const x = out.plain(states);
  const chosen = out.cast(out.node('Equal', [place, out.positions(out.sizeOf(x, 1))]), TYPE.float);
  return call.output(out.squeeze(out.node('MatMul', [out.unsqueeze(chosen, [1]), x]), [1]));
};

/** A weight that is the same for all examples, for each of them. */
const learnedQuery: Write = (out, call) => {
  const {query} = call.fields<{query: Source}>();
  const batch = out.sizeOf(out.plain(call.input), 0);
  const shape = out.node('Concat', [batch, out.ints([1, 1])], {axis: 0});
  return call.output(out.node('Expand', [out.weight('query', query), shape]));
};

const scaledCosines: Write = (out, call) => {
  const {scale, bias} = call.fields<{scale: Source; bias: Source | null}>();
  const [one = '', other = ''] = call.inputs.map(tensor => {
    const x = out.plain(tensor);
    const squares = out.reduce('ReduceSum', out.node('Mul', [x, x]), [1], true);
    return out.node('Div', [x, out.node('Sqrt', [out.node('Max', [squares, out.float(1e-24)])])]);
  });
  const cosines = out.node('MatMul', [one, out.node('Transpose', [other], {perm: [1, 0]})]);
  const scaled = out.node('Mul', [cosines, out.node('Exp', [out.weight('scale', scale)])]);
  return call.output(biased(out, scaled, bias));
};

const tiedDense: Write = (out, call) => {
  const {tableVariable, bias} = call.fields<{tableVariable: Source; bias: Source | null}>();
  const table = out.weight('embeddings', tableVariable);
  const turned = out.once(`turned ${table}`, () => out.node('Transpose', [table], {perm: [1, 0]}));
  return call.output(biased(out, out.node('MatMul', [out.plain(call.input), turned]), bias));
};

const layerScale: Write = (out, call) => {
  const {scale} = call.fields<{scale: Source}>();
  return call.output(out.node('Mul', [out.plain(call.input), out.weight('scale', scale)]));
};

const affine: Write = (out, call) => {
  const {gamma, beta} = call.fields<{gamma: Source; beta: Source}>();
  const [first = '', other] = call.inputs.map(tensor => out.plain(tensor));
  const x = other === undefined ? first : out.node('Add', [first, other]);
  return call.output(out.node('Add', [out.node('Mul', [x, out.weight('gamma', gamma)]), out.weight('beta', beta)]));
};

const softCap: Write = (out, call) => {
  const {cap} = call.fields<{cap: number}>();
  return call.output(softCapped(out, out.plain(call.input), cap));
};

const widthPart: Write = (out, call) => {
  const {index, of, span, bias} = call.fields<{index: number; of: number; span: number; bias: Source | null}>();
  const width = (call.input.shape.at(-1) ?? 0) / of;
  const part = out.slice(out.plain(call.input), call.input.rank - 1, index * width, (index + span) * width);
  return call.output(bias === null ? part : out.node('Add', [part, out.weight('bias', bias)]));
};

/** The values of the next token and of the one before, concatenated. */
const trigrams: Write = (out, call) => {
  const x = out.plain(call.input);
  const size = out.sizeOf(x, 1);
  const padded = out.node('Pad', [x, out.ints([0, 1, 0, 0, 1, 0])]);
  const from = (start: number) => {
    const end = out.node('Add', [size, out.ints([start])]);
    return out.node('Slice', [padded, out.ints([start]), end, out.ints([1])]);
  };
  return call.output(out.node('Concat', [from(2), from(1), from(0)], {axis: 2}));
};

const distanceTable: Write = (out, call) => {
  const {embeddings} = call.fields<TableLayer>();
  const [rows = 0, width = 0] = embeddings.shape as number[];
  return call.output(out.weight('embeddings', embeddings, {shape: [1, rows, width]}));
};

const choiceScores: Write = (out, call) => {
  const [scores, tokens] = call.inputs as [Tensor, Tensor];
  const shape = out.slice(out.node('Shape', [out.plain(tokens)]), 0, 0, 2);
  return call.output(out.node('Reshape', [out.plain(scores), shape]));
};

const choiceRows: Write = (out, call) => {
  const x = out.plain(call.input);
  const shape = out.node('Concat', [out.ints([-1]), out.sizeOf(x, 2)], {axis: 0});
  return ofType(call, out.node('Reshape', [x, shape]));
};

/** An output of the type of the input. */
function ofType(call: Call, name: string): Tensor {
  const result = call.output(name);
  return Object.assign(result, {type: call.input.type});
}

const one =
  (write: (out: GraphWriter, x: string, call: Call) => string): Write =>
  (out, call) =>
    out.each(call.input, x => write(out, x, call));

const gelus = one((out, x, call) =>
  call.fields<{approximate: boolean}>().approximate ? tanhGelu(out, x) : gelu(out, x),
);

const scaling = one((out, x, call) => out.node('Mul', [x, out.float(call.fields<{factor: number}>().factor)]));

/** By the names of their classes: a page that has such a layer has loaded `tfjs-lora/transformers`. */
export const TRANSFORMER_LAYERS: Readonly<Record<string, Write>> = Object.fromEntries(
  Object.entries<Write>({
    Attention: attention,
    PositionEmbedding: positionEmbedding,
    GridPositionEmbedding: gridPositionEmbedding,
    TypeEmbedding: typeEmbedding,
    RMSNormalization: rowNormalization,
    FusedLayerNormalization: rowNormalization,
    Gelu: gelus,
    QuickGelu: one((out, x) => swish(out, x, 1.702)),
    GatedActivation: gatedActivation,
    Scaling: scaling,
    LayerScale: layerScale,
    Affine: affine,
    SoftCap: softCap,
    WidthPart: widthPart,
    Trigrams: trigrams,
    HiddenPlaces: hiddenPositions,
    SequencePooling: sequencePooling,
    TokenState: tokenState,
    LearnedQuery: learnedQuery,
    ScaledCosines: scaledCosines,
    TiedDense: tiedDense,
    RelativeBias: relativeBias,
    DistanceTable: distanceTable,
    DistanceScores: distanceScores,
    PatchSequence: patchSequence,
    RotatedPatches: rotatedPatches,
    ...FEATURE_LAYERS,
    ...SOUND_LAYERS,
    ...WINDOW_LAYERS,
    ChoiceRows: choiceRows,
    ChoiceScores: choiceScores,
  }).map(([name, write]) => [`tfjs-lora/transformers>${name}`, write]),
);
