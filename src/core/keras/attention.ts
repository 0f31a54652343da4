import {brief} from '../../platform/errors';
import {isRegistered, type LayerEntry} from '../../platform/tfjs/configs';
import type {KerasEntry} from './json';
import {layerEntry, type Reading} from './layerConfigs';
import {type Fixed, settingsBeyond} from './row';
import {OWN_CLASSES} from './kerasLayer';
import {innerTensor, isTensor, type KerasCall, type KerasTensor} from './nodes';

/** The layers that replace a `MultiHeadAttention`, by what Keras calls the weights of each. */
const PROJECTIONS = ['query', 'key', 'value', 'output'] as const;

/** The projection that a file means by `query`, `query_dense`, `_query_dense`, `attention_output`. */
export function projectionOf(moduleName: string): (typeof PROJECTIONS)[number] | undefined {
  return PROJECTIONS.find(name => [name, `${name}_dense`, `_${name}_dense`, `attention_${name}`].includes(moduleName));
}

/** Layers of Keras that attend without kernels. */
export const ATTENTIONS = ['AdditiveAttention', 'Attention'];

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
  uses: readonly Use[],
  reading: Reading,
): Part[] {
  const {config} = entry;
  const {num_heads: heads, key_dim: size, value_dim: valueSize, output_shape: outputShape} = config;
  const {faults} = reading;
  faults.push(...settingsBeyond(FIXED, config).map(setting => `${label}: there is no ${setting} here.`));
  const isStock = (valueSize ?? size) === size && uses.every(isUsual);
  if (isStock && !isRegistered(ATTENTION)) {
    faults.push(`${label} is computed by Attention. Import it first: import 'tfjs-lora/transformers'.`);
  }
  warnOfDropout(config, label, reading);
  const [first] = uses;
  const width =
    [outputShape].flat()[0] ?? first?.inputs[0]?.[1].shape?.[2] ?? (config.query_shape as unknown[] | undefined)?.[2];
  const {roles, causal} = rolesOf(uses, label, reading);
  if (
    ![heads, size, valueSize ?? size, width].every(number => Number.isSafeInteger(number) && (number as number) > 0)
  ) {
    faults.push(`${label}: num_heads, key_dim and the width of its output must be sizes, got ${brief(config)}.`);
    return [];
  }
  const dense = (projection: string, units: number): LayerEntry => {
    const projectionConfig = Object.fromEntries(OF_PROJECTIONS.map(key => [key, config[key]]));
    const {config: read} = layerEntry({...entry, className: 'Dense', config: projectionConfig}, label, reading);
    return {className: 'Dense', config: {...read, name: partName(name, projection), units, activation: 'linear'}};
  };
  const ofHeads = (sizeOfHead: unknown) => (heads as number) * (sizeOfHead as number);
  const inputs = (role: Role) => uses.map(({inputs: all}) => all.filter(([one]) => one === role).map(([, x]) => x));
  const projections = ['query', 'key', 'value'] as const;
  const masks = uses.map(({inputs: all}) => all.slice(projections.length).map(([, mask]) => mask));
  const joined = [...projections, ...roles.slice(projections.length)];
  return [
    {...dense('query', ofHeads(size)), calls: inputs('query')},
    {...dense('key', ofHeads(size)), calls: inputs('key')},
    {...dense('value', ofHeads(valueSize ?? size)), calls: inputs('value')},
    {
      className: isStock ? ATTENTION : OWN_CLASSES.kerasLayer,
      config: {
        name: partName(name, 'heads'),
        heads: heads as number,
        causal,
        ...(!isStock && {computes: 'attention', roles: joined, replaces: reading.isKeras3}),
      },
      calls: uses.map((_, i) => [
        ...projections.map(projection => innerTensor(partName(name, projection), i)),
        ...(masks[i] as KerasTensor[]),
      ]),
    },
    {...dense('output', width as number), calls: uses.map((_, i) => [innerTensor(partName(name, 'heads'), i)])},
  ];
}

/** Attention weights are never dropped here. */
export function warnOfDropout({dropout}: KerasEntry['config'], label: string, {warnings}: Reading): void {
  if (typeof dropout === 'number' && dropout > 0) {
    warnings.push(`${label} has no dropout (${dropout} in Keras) on its attention weights.`);
  }
}

/** The name of one of the layers that replace a `MultiHeadAttention`. */
export function partName(name: string, role: string): string {
  return `${name}_${role}`;
}

/** The role of an input of attention: masks may have rows for queries, columns for keys, or both. */
type Role = 'query' | 'value' | 'key' | 'rows' | 'columns' | 'pairs';

export interface Use {
  /** The query, the value and the key come first. `Attention` may have no key. */
  inputs: (readonly [Role, KerasTensor])[];
  causal: boolean;
}

/** Reads calls of `(query, value, key, …)`, by position or by name, or of a list of these. */
export function attentionUses(
  calls: readonly KerasCall[],
  label: string,
  maskOf: (tensor: KerasTensor) => KerasTensor | undefined,
  {isKeras3, faults}: Reading,
): Use[] {
  return calls.map(({args, kwargs}) => {
    const [list] = args;
    const [first, second, third, ...more] = Array.isArray(list) ? [...(list as unknown[]), ...args.slice(1)] : args;
    const {
      query = first,
      value = second,
      key = third,
      use_causal_mask: causal,
      training,
      mask,
      ...otherKwargs
    } = kwargs;
    const {query_mask: ofQuery, value_mask: ofValue, key_mask: ofKey, attention_mask: pairs, ...settings} = otherKwargs;
    const [rows, columns, ...ofOthers] = Array.isArray(mask) ? (mask as unknown[]) : [ofQuery, ofValue, ofKey];
    const beyond = [...more, ...(Array.isArray(mask) ? [] : [mask]), ...Object.values(settings)];
    const isKey = key == null || isTensor(key);
    const isUsual = beyond.every(setting => (setting ?? false) === false) && (training !== true || isKeras3);
    if (!isTensor(query) || !isTensor(value) || !isKey || !isUsual) {
      faults.push(`${label}: a call may have only queries, values, keys and masks, got ${brief({args, kwargs})}.`);
      return {inputs: [], causal: false};
    }
    const masks: [Role, unknown][] = [
      ['rows', rows ?? maskOf(query)],
      ['columns', columns ?? maskOf(value)],
      // A list has the masks of queries and values.
      ...(Array.isArray(list)
        ? []
        : ([['columns', ofOthers[0] ?? (isTensor(key) ? maskOf(key) : undefined)]] as [Role, unknown][])),
      ['pairs', pairs],
    ];
    const keys = isTensor(key) ? [key] : Array.isArray(list) ? [] : [value];
    return {
      inputs: [
        ['query', query],
        ['value', value],
        ...keys.map(one => ['key', one] as const),
        ...masks.filter((one): one is [Role, KerasTensor] => isTensor(one[1])),
      ],
      causal: causal === true,
    };
  });
}

/** The roles of the inputs of each call, and whether a query attends to no later position. Calls may not differ. */
export function rolesOf(uses: readonly Use[], label: string, {faults}: Reading): {roles: Role[]; causal: boolean} {
  const all = uses.map(({inputs, causal}) => ({roles: inputs.map(([role]) => role), causal}));
  const [first = {roles: [], causal: false}] = all;
  if (all.some(one => JSON.stringify(one) !== JSON.stringify(first))) {
    faults.push(`${label} is called in different ways: with and without a key, masks or use_causal_mask.`);
  }
  return first;
}

/** Whether the `Attention` of this library computes a call: it counts positions from the last one. */
function isUsual({inputs, causal}: Use): boolean {
  const [[, query] = [], [, value] = [], , ...masks] = inputs;
  const places = [query, value].map(one => one?.shape?.[1]);
  const isSame = query?.layer === value?.layer && query?.node === value?.node && query?.index === value?.index;
  return masks.length === 0 && (!causal || isSame || (places[0] != null && places[0] === places[1]));
}
