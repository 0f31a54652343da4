import type * as tf from '@tensorflow/tfjs';
import {type Adapter, layerConfigAt} from '../adapter/adapter';
import type {asLoRA} from '../adapter/asLoRA';
import {checkAdapter} from '../adapter/checkAdapter';
import {describeHead} from '../adapter/headConfig';
import {listed, misfitError, throwFaults} from '../../platform/errors';
import {type CallOptions, stepsOf} from '../../platform/signals';
import type {Values} from '../../platform/formats/layout';
import {type FileBytes, encodeSafetensors, type NamedValues} from '../../platform/formats/encodeSafetensors';
import type {LayerConfig} from '../layers/layerConfig';
import {borrowing} from '../layers/borrowingLayer';
import {baseOf} from '../layers/layerMarks';
import {adaptationOf} from '../layers/registry';
import {resolveStrength, scalingOf, withRank} from '../methods/lora';
import {methodOf} from '../methods/registry';
import {checkFit} from '../model/checkFit';
import {type Site, sitesOf} from '../rewire/walk';
import {floatTypeOf, readValues, type SafetensorsOptions} from '../storage/safetensors';
import {biasesOf, namedWeights} from '../../platform/tfjs/weights';
import {
  carries,
  isConv1D,
  isUncalled,
  rowsOf,
  type TorchAttention,
  torchWeights,
  type UpdatedKind,
  updatedKind,
  whyNoTokenRows,
} from './torchLayers';
import {kernelModules} from './kernelModules';
import {sitesOfModules} from './kernels';
import {PEFT_NAMES} from './parsePeft';
import type {PEFTFiles} from './peftFiles';
import {type KeyMap, modulePaths} from './modules';
import type {PEFTForm, WrittenModule} from './methods/form';
import {lora} from './methods/lora';
import {trainableTokens} from './methods/trainableTokens';
import {formOf} from './methods/table';
import {depthwiseUpdateToTorch, type TorchUpdate, toTorchUpdate} from './methods/update';
import {writePEFTConfig} from './config';

/** Options of `exportPEFT`. */
export interface ExportPEFTOptions extends SafetensorsOptions, CallOptions {
  /** The adapter to export, which stays the caller's. Default: that of the model. */
  adapter?: Adapter;
  /** The module of each layer, by name. Default: the layer's path with dots for slashes. */
  keyMap?: KeyMap;
  /** The PyTorch base, `base_model_name_or_path` in the config, for `AutoPeftModel`. Default: none. */
  baseModel?: string;
}

/** A PEFT adapter as it is written. */
export interface ExportedPEFT extends PEFTFiles {
  /** The contents of `adapter_config.json`. */
  config: Record<string, unknown>;
  /** The content of `adapter_model.safetensors`. */
  weights: FileBytes;
}

/**
 * Writes an adapter for a model. Its options are checked.
 *
 * @param plainOf is passed in: what this file imports is on each page that could load it.
 */
export async function writePEFT(
  adapter: Adapter,
  model: tf.LayersModel,
  options: ExportPEFTOptions,
  plainOf: typeof asLoRA,
): Promise<ExportedPEFT> {
  const {keyMap, baseModel, dtype = 'float32', allowNonFinite} = options;
  const step = stepsOf(options);
  checkAdapter(adapter);
  checkHead(adapter, model);
  const sites = sitesOf(model).map(site => ({...site, layer: baseOf(site.layer)}));
  checkFit(adapter, sites);
  const paths = modulePaths(sitesOfModules(sites).all, keyMap);
  const {trainable, biases = []} = adapter.config;
  const form = checkExportable(adapter, sites, paths);
  const plain = plainOf(adapter, method => formOf(method.name) === lora);
  const values = await readValues(plain.tensors).finally(() => plain.dispose());

  const tensors: Record<string, Values> = {};
  const counters: Record<string, NamedValues> = {};
  const modules: WrittenModule[] = [];
  const modulesToSave: string[] = [];
  const tokenIndices: Record<string, readonly number[]> = {};
  for (const [done, {path, layer}] of sites.entries()) {
    await step({done, total: sites.length, what: 'exporting layers'});
    const module = paths.get(path);
    if (module === undefined) {
      continue;
    }
    const key = PEFT_NAMES.prefix + module;
    const valueOf = (name: string) => values[`${path}/${name}`] as Values;
    const config = layerConfigAt(plain.config, path);
    if (config?.tokens !== undefined) {
      tokenIndices[module] = config.tokens;
      const rows = await tokenRows(layer, config, valueOf('token_deltas'));
      const isAlone = form === trainableTokens;
      tensors[key + (isAlone ? PEFT_NAMES.tokensAlone : PEFT_NAMES.tokens)] = rows;
      for (const other of isAlone ? sites.filter(site => isLentTo(layer, site)) : []) {
        // PEFT writes them once more for a tied head.
        tensors[`${PEFT_NAMES.prefix}${paths.get(other.path) ?? ''}${PEFT_NAMES.tokensAlone}`] = rows;
      }
    } else if (config !== undefined && form.write !== undefined) {
      const method = methodOf(config.method).name;
      const strength = resolveStrength(config);
      const {axes} = updatedKind(config.className) as UpdatedKind;
      Object.entries(form.write({method, strength}, axes, valueOf)).forEach(([name, tensor]) => {
        tensors[`${key}.${name}`] = tensor;
      });
      modules.push({path: module, method, strength});
    } else if (config !== undefined) {
      for (const {name, start} of writtenUpdates(config, layer, path)) {
        const updated = paths.get(name);
        if (updated === undefined) {
          continue;
        }
        const ofUpdate = (parameter: string) => values[start + parameter] as Values;
        const {a, b, strength} = torchUpdate(config, {a: ofUpdate('lora_A'), b: ofUpdate('lora_B')});
        const names = config.className === 'Embedding' ? PEFT_NAMES.embedding : PEFT_NAMES.weight;
        const ofModule = PEFT_NAMES.prefix + updated;
        tensors[ofModule + names.a] = a;
        tensors[ofModule + names.b] = b;
        modules.push({path: updated, method: methodOf(config.method).name, strength});
        if (config.method === 'dora') {
          const {data} = ofUpdate('lora_magnitude_vector');
          const ones = a.shape.slice(2).map(() => 1);
          tensors[ofModule + PEFT_NAMES.magnitude] = {
            shape: ones.length > 0 ? [1, data.length, ...ones] : [data.length],
            data,
          };
        }
      }
      if (config.trainBias) {
        tensors[key + PEFT_NAMES.baseBias] = valueOf('bias');
      }
    } else if (biases.includes(path)) {
      tensors[`${key}.bias`] = valueOf([...biasesOf(layer).keys()][0] ?? 'bias');
    } else if (trainable.includes(path)) {
      modulesToSave.push(module);
      const weights = namedWeights(layer);
      for (const {torchName, name, toTorch} of torchWeights(layer) ?? []) {
        if (weights.has(name)) {
          tensors[`${key}.${torchName}`] = toTorch?.(valueOf(name)) ?? valueOf(name);
        }
      }
      for (const other of sites.filter(site => isLentTo(layer, site))) {
        // PEFT makes a copy of each module that it saves.
        const head = paths.get(other.path) ?? '';
        modulesToSave.push(head);
        tensors[`${PEFT_NAMES.prefix}${head}.weight`] = valueOf('embeddings');
      }
      if (layer.getClassName() === 'BatchNormalization') {
        counters[key + PEFT_NAMES.counter] = {shape: [], data: new BigInt64Array(1)}; // PEFT misses it
      }
    }
  }
  await step({done: sites.length, total: sites.length, what: 'exporting layers'});
  for (const [name, tensor] of Object.entries(form.writeShared?.(plain.config.layers, values) ?? {})) {
    tensors[PEFT_NAMES.root + name] = tensor;
  }
  const all = [...paths.values()];
  const updated = sites.filter(({path}) => {
    const config = layerConfigAt(plain.config, path);
    return paths.has(path) && config !== undefined && config.tokens === undefined;
  });
  const fanInFanOut = updated.every(({layer}) => isConv1D(layer));
  const config = {
    ...writePEFTConfig(modules, {form, fanInFanOut, bias: biasOf(adapter), modulesToSave, all}),
    ...(form !== trainableTokens && Object.keys(tokenIndices).length > 0 && {trainable_token_indices: tokenIndices}),
    ...(form === trainableTokens && {
      token_indices: Object.values(tokenIndices)[0],
      target_modules: Object.keys(tokenIndices),
    }),
    ...(baseModel !== undefined && {base_model_name_or_path: baseModel}),
  };
  const how = {
    dtype: floatTypeOf(dtype),
    metadata: {format: 'pt'},
    ...(allowNonFinite !== undefined && {allowNonFinite}),
  };
  return {config, weights: encodeSafetensors({...tensors, ...counters}, how)};
}

/** PEFT stores weights and builds nothing, so the layers of a new head have to be in the model. */
function checkHead({config: {head}}: Adapter, model: tf.LayersModel): void {
  const names = new Set(model.layers.map(({name}) => name));
  if (head?.layers.some(({config}) => !names.has(config.name as string))) {
    throw misfitError(
      `The adapter has ${describeHead(head)}, which the model does not have. Pass the model that has it: ` +
        'applyLoRA(base, adapter).',
    );
  }
}

/** The embeddings of the tokens that train, as PEFT stores them: with those of the base. */
async function tokenRows(layer: tf.layers.Layer, config: LayerConfig, deltas: Values): Promise<Values> {
  const table = adaptationOf(layer)?.weights(layer)[0]?.variable as tf.LayerVariable;
  const base = rowsOf(table, config.tokens ?? [], config.className !== 'Embedding');
  try {
    const values = await base.data<'float32'>();
    const scaling = scalingOf(config);
    return {shape: base.shape, data: values.map((value, i) => value + scaling * (deltas.data[i] ?? 0))};
  } finally {
    base.dispose();
  }
}

/** The factors of a layer in the layout of PyTorch. */
function torchUpdate(config: LayerConfig, {a, b}: {a: Values; b: Values}): Pick<TorchUpdate, 'a' | 'b' | 'strength'> {
  const strength = resolveStrength(config);
  if (updatedKind(config.className)?.depthwise === true) {
    return depthwiseUpdateToTorch({a, b, strength});
  }
  const [rank = 1] = b.shape; // a smaller kernel of the layer has the highest rank that it can hold
  return {...toTorchUpdate({a, b}), strength: rank === strength.rank ? strength : withRank(strength, rank)};
}

/** The updates of a layer, one for each kernel if these are modules: their paths, and the start of their tensors. */
function writtenUpdates(
  {weights = []}: LayerConfig,
  layer: tf.layers.Layer,
  path: string,
): {name: string; start: string}[] {
  const ends = kernelModules(layer);
  return ends === undefined
    ? [{name: path, start: `${path}/`}]
    : weights.map(({name}) => ({
        name: `${path}/${ends[name] ?? ''}`,
        start: weights.length === 1 ? `${path}/` : `${path}/${name}/`,
      }));
}

function biasOf({config: {layers, biases = []}}: Adapter): 'none' | 'lora_only' | 'all' {
  if (biases.length > 0) {
    return 'all';
  }
  return Object.values(layers).some(({trainBias}) => trainBias) ? 'lora_only' : 'none';
}

/**
 * The type in which PEFT stores an adapter.
 *
 * @throws LoRAError with a line for each layer whose part of the adapter PEFT cannot store.
 */
function checkExportable(adapter: Adapter, sites: readonly Site[], paths: ReadonlyMap<string, string>): PEFTForm {
  const {layers, trainable, biases = []} = adapter.config;
  const faults: string[] = [];
  const tiedLayers = Object.entries(layers).filter(([path]) => paths.has(path));
  const written = tiedLayers.filter(([, {tokens}]) => tokens === undefined);
  // One config says for all modules whether they have a magnitude.
  const forms = written.map(([, {method}]) => formOf(methodOf(method).name) ?? lora);
  const kinds = new Set(written.map(([, {method}], i) => (method === 'dora' ? 'DoRA' : forms[i]?.type)));
  const alone = written.length === 0 && tiedLayers.length > 0;
  const [form = alone ? trainableTokens : lora] = forms;
  if (kinds.size > 1) {
    faults.push(`A PEFT adapter has one method, but this one has ${[...kinds].join(' and ')}.`);
  }
  if (![lora, trainableTokens].includes(form) && written.length < tiedLayers.length) {
    faults.push(`PEFT trains tokens only alone or with LoRA, but this adapter has ${form.type}.`);
  }
  if (tiedLayers.length === 0) {
    faults.push('PEFT loads only adapters with a low-rank update, but this one has none.');
  }
  if (alone && trainable.length + biases.length > 0) {
    faults.push('Without LoRA, PEFT trains only tokens, but in this adapter other weights train too. Add LoRA to it.');
  }
  if (alone && new Set(tiedLayers.map(([, {tokens}]) => String(tokens))).size > 1) {
    faults.push('Without LoRA, PEFT has one list of tokens, but this adapter has different ones. Add LoRA to it.');
  }
  for (const {path, layer} of sites.filter(site => paths.has(site.path))) {
    const className = layer.getClassName();
    const config = layerConfigAt(adapter.config, path);
    const isStored = config !== undefined || trainable.includes(path) || biases.includes(path);
    const kind = updatedKind(className);
    if (isStored && isPartOfAttention(path, sites)) {
      faults.push(
        `${path}: in PyTorch it is part of a MultiheadAttention, whose parts are not modules for PEFT. Leave it ` +
          'out (exclude: [/head\\/attention/]), or merge the adapter and write the model by exportTransformer.',
      );
      continue;
    }
    if (config !== undefined && isUncalled(path, sites)) {
      faults.push(
        `${path}: in PyTorch its weight is used without calling the module, so PEFT ignores the update. Leave it out ` +
          "(exclude: ['decoder', 'cls/predictions/dense']), or merge the adapter and write the model by exportTransformer.",
      );
      continue;
    }
    const reason = config?.tokens === undefined ? undefined : whyNoTokenRows(layer);
    if (reason !== undefined) {
      faults.push(`${path}: ${reason}`);
    }
    if (config !== undefined && config.tokens === undefined && !canCarry(config, layer)) {
      const what = isConv1D(layer) ? "GPT-2's Conv1D" : `the class ${className}`;
      faults.push(`${path}: PEFT has no updates of ${what}${named(config)}.`);
    }
    if (config?.method === 'dora' && kind?.depthwise) {
      faults.push(`${path}: PEFT has no DoRA for grouped convolutions.`);
    }
    if ((config?.share ?? 1) !== 1) {
      faults.push(`${path}: the adapter was scaled, which PEFT cannot store for DoRA. Merge the adapter instead.`);
    }
    if (config?.trainBias && form !== lora) {
      faults.push(`${path}: its bias trains too, which PEFT supports only with LoRA.`);
    }
    if (config !== undefined && !config.freezeBaseLayer) {
      faults.push(
        `${path}: its base trains too (freezeBaseLayer: false), which PEFT does not store. Merge the adapter instead.`,
      );
    }
    if (trainable.includes(path) && torchWeights(layer) === undefined) {
      faults.push(`${path}: of class ${className}, whose weights do not correspond to one PyTorch module.`);
    }
    const lent = sites.find(site => isLentTo(layer, site) && layerConfigAt(adapter.config, site.path) !== undefined);
    if (trainable.includes(path) && lent !== undefined) {
      faults.push(`${path}: its embedding trains, and ${lent.path}, which shares it, has another update.`);
    }
    if (biases.includes(path) && (torchWeights(layer) === undefined || biasesOf(layer).size !== 1)) {
      faults.push(`${path}: a bias of the class ${className}, which is not one tensor in PyTorch.`);
    }
    if (trainable.includes(path)) {
      // PEFT takes these names for the ends of paths.
      const module = paths.get(path) ?? '';
      const sameNamed = sites.filter(other => {
        const name = paths.get(other.path) ?? '';
        const isOther = other.path !== path && other.layer.weights.length > 0 && !trainable.includes(other.path);
        return isOther && name.endsWith(module);
      });
      if (sameNamed.length > 0) {
        faults.push(
          `${path}: PEFT would take ${listed(sameNamed.map(other => other.path))} for the same, because the names ` +
            'have the same end. Rename it with keyMap.',
        );
      }
    }
  }
  throwFaults(faults, 'ERR_UNSUPPORTED', 'The adapter cannot be written for PEFT:');
  return form;
}

/**
 * Whether a layer is a part of a `MultiheadAttention`, as in the pooling of SigLIP. Three of the parts are one weight
 * in PyTorch, and the fourth is a module that is not called.
 */
function isPartOfAttention(path: string, sites: readonly Site[]): boolean {
  const query = /^(.+)\/attention\/(?:q|k|v|out)_proj$/.exec(path)?.[1];
  return sites.some(
    ({path: other, layer}) => other === query && (layer as Partial<TorchAttention>).torchClass === 'MultiheadAttention',
  );
}

/** Whether a layer computes with the table of another. */
function isLentTo(lender: tf.layers.Layer, {layer}: Site): boolean {
  const owner = borrowing(layer)?.lender;
  return owner !== undefined && baseOf(owner) === lender;
}

function canCarry({method, weights}: LayerConfig, layer: tf.layers.Layer): boolean {
  const form = formOf(methodOf(method).name);
  const ends = kernelModules(layer);
  return ends === undefined
    ? form !== undefined && carries(form, layer)
    : form === lora && weights?.every(({name}) => Object.hasOwn(ends, name)) === true;
}

function named({method}: LayerConfig): string {
  return method === undefined ? '' : ` by the method ${method}`;
}
