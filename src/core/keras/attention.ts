import {brief} from '../../platform/errors';
import {isRegistered, type LayerEntry} from '../../platform/tfjs/configs';
import type {KerasEntry} from './json';
import {layerEntry, type Reading} from './layerConfigs';
import {type Fixed, settingsBeyond} from './layerTable';
import {isTensor, type KerasCall, type KerasTensor} from './nodes';

/** The layers that replace a `MultiHeadAttention`, by what Keras calls the weights of each. */
const PROJECTIONS = ['query', 'key', 'value', 'output'] as const;

/** The projection that a file means by `query`, `query_dense`, `_query_dense`, `attention_output`. */
export function projectionOf(part: string): (typeof PROJECTIONS)[number] | undefined {
  return PROJECTIONS.find(name => [name, `${name}_dense`, `_${name}_dense`, `attention_${name}`].includes(part));
}

/** The class that computes attention, from a separate entry point. */
const ATTENTION = 'tfjs-lora/transformers>Attention';

/** Settings of Keras that the layers here do not have, with the values that they may have. */
const FIXED: Fixed = {
  attention_axes: [1],
  use_gate: [false],
  sliding_window: [],
  activity_regularizer: [],
  kernel_constraint: [],
  bias_constraint: [],
};

/** The settings that projections share with the attention. */
const OF_PROJECTIONS = [
  ...['trainable', 'dtype', 'use_bias', 'kernel_initializer', 'bias_initializer'],
  ...['kernel_regularizer', 'bias_regularizer'],
];

/** A layer of the config of tfjs, with the tensors of each of its calls. */
export interface Part extends LayerEntry {
  calls: KerasTensor[][];
}

/**
 * Reads Keras's attention as stock layers of tfjs and the `Attention` of this library: `Dense` layers for queries,
 * keys, values and the output. Their kernels are those of the file, with the heads joined.
 */
export function attentionParts(
  entry: KerasEntry,
  name: string,
  label: string,
  calls: readonly KerasCall[],
  reading: Reading,
): Part[] {
  const {config} = entry;
  const {num_heads: heads, key_dim: size, value_dim: valueSize, dropout, output_shape: given} = config;
  const {faults} = reading;
  faults.push(...settingsBeyond(FIXED, config).map(setting => `${label}: there is no ${setting} here.`));
  if (!isRegistered(ATTENTION)) {
    faults.push(`${label} is computed by Attention. Import it first: import 'tfjs-lora/transformers'.`);
  }
  if (valueSize != null && valueSize !== size) {
    faults.push(`${label}: value_dim must be key_dim, ${brief(size)}, got ${brief(valueSize)}.`);
  }
  if (reading.isMasked) {
    faults.push(`${label} uses the mask of mask_zero or Masking in Keras, but not here.`);
  }
  if (typeof dropout === 'number' && dropout > 0) {
    reading.warnings.push(`${label} has no dropout (${dropout} in Keras) on its attention weights.`);
  }
  const uses = calls.map(call => useOf(call, label, faults));
  const [first] = uses;
  const width = [given].flat()[0] ?? first?.query?.shape?.[2] ?? (config.query_shape as unknown[] | undefined)?.[2];
  const causal = uses.some(use => use.causal);
  if (uses.some(use => use.causal !== causal)) {
    faults.push(`${label} is called both with and without use_causal_mask.`);
  }
  if (![heads, size, width].every(number => Number.isSafeInteger(number) && (number as number) > 0)) {
    faults.push(`${label}: num_heads, key_dim and the width of its output must be sizes, got ${brief(config)}.`);
    return [];
  }
  const dense = (part: string, units: number): LayerEntry => {
    const own = Object.fromEntries(OF_PROJECTIONS.map(key => [key, config[key]]));
    const {config: read} = layerEntry({...entry, className: 'Dense', config: own}, label, reading);
    return {className: 'Dense', config: {...read, name: partName(name, part), units, activation: 'linear'}};
  };
  const columns = (heads as number) * (size as number);
  const of = (part: string, index: number): KerasTensor => ({
    layer: partName(name, part),
    node: index,
    index: 0,
    shape: undefined,
  });
  const inputs = (pick: (use: Use) => KerasTensor | undefined) => uses.map(use => [pick(use)].filter(isTensor));
  return [
    {...dense('query', columns), calls: inputs(({query}) => query)},
    {...dense('key', columns), calls: inputs(({key}) => key)},
    {...dense('value', columns), calls: inputs(({value}) => value)},
    {
      className: ATTENTION,
      config: {name: partName(name, 'heads'), heads: heads as number, causal},
      calls: uses.map((_, i) => [of('query', i), of('key', i), of('value', i)]),
    },
    {...dense('output', width as number), calls: uses.map((_, i) => [of('heads', i)])},
  ];
}

/** The name of one of the layers that replace a `MultiHeadAttention`. */
export function partName(name: string, part: string): string {
  return `${name}_${part}`;
}

interface Use {
  query: KerasTensor | undefined;
  value: KerasTensor | undefined;
  key: KerasTensor | undefined;
  causal: boolean;
}

/** The tensors of a call, `(query, value, key, …)`, by position or by name. */
function useOf({args, kwargs}: KerasCall, label: string, faults: string[]): Use {
  const [first, second, third, ...more] = args;
  const {query = first, value = second, key = third, use_causal_mask: causal, training, ...others} = kwargs;
  const rest = [...more, ...Object.entries(others)].filter(
    entry => (Array.isArray(entry) ? (entry[1] ?? false) : (entry ?? false)) !== false,
  );
  if (!isTensor(query) || !isTensor(value) || (key != null && !isTensor(key)) || rest.length > 0 || training === true) {
    faults.push(`${label}: a call may have only queries, values and keys, got ${brief({args, kwargs})}.`);
    return {query: undefined, value: undefined, key: undefined, causal: false};
  }
  const places = [query, value].map(({shape}) => shape?.[1]);
  const isSame = query.layer === value.layer && query.node === value.node && query.index === value.index;
  if (causal === true && !isSame && (places[0] == null || places[0] !== places[1])) {
    faults.push(`${label}: use_causal_mask counts positions from the first one in Keras, but from the last one here.`);
  }
  return {query, value, key: isTensor(key) ? key : value, causal: causal === true};
}
