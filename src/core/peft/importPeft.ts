import * as tf from '@tensorflow/tfjs';
import {type Adapter, type AdapterConfig, makeAdapter} from '../adapter/adapter';
import {LoRAError, showShape, throwFaults} from '../../platform/errors';
import {type CallOptions, stepsOf} from '../../platform/signals';
import {Budget} from './patternTable';
import {sizeOf, type Values} from '../../platform/formats/layout';
import {headOf} from '../head/headPlace';
import {classInAdapters} from '../layers/adaptation';
import type {LayerConfig} from '../layers/layerConfig';
import {adaptationOf, reasonNotAdaptable} from '../layers/registry';
import {baseOf} from '../layers/layerMarks';
import {isWrapper} from '../layers/wrapperLayer';
import type {Method, Strength} from '../methods/method';
import {resolveStrength, scalingOf} from '../methods/lora';
import {allMethods, methodOf, namedIn} from '../methods/registry';
import {checkFit} from '../model/checkFit';
import {recordOf} from '../rewire/record';
import {type Site, sitesOf} from '../rewire/walk';
import type {LoadOptions} from '../storage/limits';
import {asTensors} from '../storage/decodeAdapter';
import {biasesOf, namedWeights} from '../../platform/tfjs/weights';
import {carries, isConv1D, isUncalled, rowsOf, torchWeights, updatedKind, whyNoTokenRows} from './torchLayers';
import {parsePEFT, type TorchModule} from './parsePeft';
import {partTied} from './tiedModules';
import {type PEFTSource, readPEFT} from './readPeft';
import {type KeyMap, meet} from './modules';
import {sitesOfModules, updateOfKernels} from './kernels';
import {usedModules} from './unusedModules';
import type {StoredUpdate, OwnUpdate, PEFTForm} from './methods/form';
import type {PrincipalInit} from '../methods/initializer';
import {principalStart} from './methods/principal';
import {asDepthwise, withinRankLimit, fromTorchUpdate, type TfjsUpdate, type TorchUpdate} from './methods/update';

/** Reads a PEFT adapter for a model. The options are checked. */
export async function readPEFTFor(
  source: PEFTSource,
  model: tf.LayersModel,
  keyMap: KeyMap | undefined,
  limits: LoadOptions & CallOptions,
): Promise<Adapter> {
  const files = await readPEFT(source, limits);
  const step = stepsOf(limits);
  const budget = new Budget();
  const warn = (message: string) => {
    console.warn(message);
  };
  const {form, init, fanInFanOut, modules, shared} = await parsePEFT(files, warn, budget);
  const sites = sitesOf(model);
  const config: AdapterConfig = {layers: {}, trainable: []};
  const biases: string[] = [];
  const values = new Map<string, Values>();
  const shifts: {site: Site; bias: Values | undefined; update: TorchUpdate}[] = [];
  const faults: string[] = [];
  const {all, kernels} = sitesOfModules(sites);
  const met = meet(usedModules([...modules.keys()], model, all), all, keyMap, budget);
  faults.push(...partTied(met, modules, sites));
  const ofKernels = new Map<Site, Map<string, TorchModule>>();
  let done = 0;
  for (const [path, site] of met) {
    await step({done: done++, total: met.size, what: 'importing modules'});
    const module = modules.get(path) as TorchModule;
    const kernel = kernels.get(site);
    if (kernel !== undefined) {
      ofKernels.set(kernel.site, new Map(ofKernels.get(kernel.site)).set(kernel.weight, module));
    } else {
      await attempt(path, () => take(module, site));
    }
  }
  for (const [site, ofLayer] of ofKernels) {
    await attempt(site.path, () => {
      const update = updateOfKernels(site, ofLayer, init !== undefined);
      config.layers[site.path] = update.config;
      Object.entries(update.values).forEach(([name, parameter]) => values.set(name, parameter));
    });
  }
  throwFaults(faults, 'ERR_MISFIT', 'The PEFT adapter does not fit this model:');
  // If the model has a new head, its weights are among PEFT's whole modules.
  const head = headOf(model) ?? recordOf(model).head;
  const tensors = asTensors(values);
  for (const {site, bias, update} of shifts) {
    tensors[`${site.path}/bias`] = shiftedBias(site, bias, update);
  }
  const adapter = makeAdapter({...config, ...(biases.length > 0 && {biases}), ...(head && {head})}, tensors);
  try {
    checkFit(
      adapter,
      sites.map(site => ({...site, layer: baseOf(site.layer)})),
    );
  } catch (error) {
    adapter.dispose();
    throw error;
  }
  return adapter;

  async function attempt(path: string, taking: () => Promise<void> | void): Promise<void> {
    try {
      await taking();
    } catch (error) {
      faults.push(`${path}: ${(error as Error).message}`);
    }
  }

  /** Takes the adapter's tensors for one layer. */
  async function take({update, stored, base, bias, saved, tokens}: TorchModule, site: Site): Promise<void> {
    const {path} = site;
    const layer = baseOf(site.layer);
    if (base !== undefined) {
      await checkBase(site, base);
    }
    if (saved.size > 0) {
      config.trainable.push(path);
      if (fanInFanOut) {
        checkOrientation(layer);
      }
      savedWeights(layer, saved).forEach((weight, name) => values.set(`${path}/${name}`, weight));
    }
    if (tokens !== undefined) {
      config.layers[path] = tokensConfig(layer, tokens.ids);
      values.set(`${path}/token_deltas`, await tokenDeltas(site, tokens));
    }
    if (bias !== undefined) {
      values.set(`${path}/${checkBias(layer, bias)}`, bias);
      if (update === undefined && stored === undefined) {
        biases.push(path);
      }
    }
    // PEFT leaves the factor of such an update at zero when it trains it.
    const hasEffect = stored !== undefined || update?.b.data.some(value => value !== 0);
    if (hasEffect && isUncalled(path, sites)) {
      throw new LoRAError(
        'PEFT ignores this update until it is merged, because PyTorch does not call the module. Merge it with PEFT ' +
          'and load the merged model; or leave the module out with keyMap.',
      );
    }
    if (stored !== undefined) {
      const {method, strength, values: storedValues} = readStored(form, stored, layer, shared);
      config.layers[path] = frozenConfig(layer, methodOf(method), strength, bias !== undefined);
      Object.entries(storedValues).forEach(([name, parameter]) => values.set(`${path}/${name}`, parameter));
    }
    if (update !== undefined) {
      const {a, b, strength} = layerUpdate(layer, update);
      const {magnitude} = update;
      const start = init === undefined || update.embedding ? undefined : await startOf(init, site, strength);
      const trainBias = bias !== undefined || update.bias !== undefined;
      config.layers[path] = frozenConfig(layer, methodOf(magnitude ? 'dora' : start && init), strength, trainBias);
      const named = {
        ...{lora_A: a, lora_B: b},
        ...(start && {lora_A0: start.a, lora_B0: start.b}),
        ...(magnitude && {lora_magnitude_vector: {shape: [magnitude.data.length], data: magnitude.data}}),
      };
      for (const [name, factor] of Object.entries(named)) {
        values.set(`${path}/${name}`, factor);
      }
      if (update.bias !== undefined) {
        values.delete(`${path}/${checkBias(layer, update.bias)}`);
        shifts.push({site, bias, update});
      }
    }
  }
}

/** The config of a layer whose base does not train. */
function frozenConfig(layer: tf.layers.Layer, method: Method, strength: Strength, trainBias = false): LayerConfig {
  return {
    className: classInAdapters(layer.getClassName()),
    ...namedIn(method),
    ...strength,
    freezeBaseLayer: true,
    ...(trainBias && {trainBias}),
  };
}

/** An update of another type than `LORA`, for a layer that can have one. */
function readStored(
  form: PEFTForm,
  update: StoredUpdate,
  layer: tf.layers.Layer,
  shared: ReadonlyMap<string, Values>,
): OwnUpdate {
  const className = layer.getClassName();
  const reason = reasonNotAdaptable(layer, true);
  if (reason !== undefined || !carries(form, layer)) {
    throw new LoRAError(reason ?? `PEFT has no updates of type ${form.type} for the class ${className}.`);
  }
  const shape = (adaptationOf(layer)?.weights(layer)[0]?.variable.shape ?? []) as number[];
  return (form.read as NonNullable<PEFTForm['read']>)(update, shape, shared);
}

/** The factors that PEFT subtracted from the weight of a layer. */
async function startOf(init: PrincipalInit, site: Site, strength: Strength): Promise<{a: Values; b: Values}> {
  const layer = baseOf(site.layer);
  if (updatedKind(layer.getClassName())?.axes !== 2 || (init === 'olora' && isConv1D(layer))) {
    const what = isConv1D(layer) ? "GPT-2's Conv1D" : layer.getClassName();
    throw new LoRAError(`PEFT has no updates for a ${what} that start from its weight (${init}).`);
  }
  return principalStart(init, await originalValues(site, 'kernel'), strength);
}

/** How the embeddings of some tokens train. */
function tokensConfig(layer: tf.layers.Layer, tokens: number[]): LayerConfig {
  const rank = tokens.length;
  const reason = whyNoTokenRows(layer);
  if (reason !== undefined) {
    throw new LoRAError(reason);
  }
  const method = allMethods().find(({takesTokens}) => takesTokens);
  if (method === undefined) {
    throw new LoRAError('Tokens that train need a method of tfjs-lora/transformers: import that first.');
  }
  return frozenConfig(layer, method, resolveStrength({rank, tokens}));
}

/** The changes of token embeddings. PEFT stores the changed embeddings. */
async function tokenDeltas(site: Site, {ids, rows}: {ids: readonly number[]; rows: Values}): Promise<Values> {
  const isKernel = updatedKind(baseOf(site.layer).getClassName())?.embedding !== true;
  const table = weightOf(site, isKernel ? 'kernel' : 'embeddings');
  const shape = table.shape as number[];
  const [count = 0, width = 0] = isKernel ? [...shape].reverse() : shape;
  if (rows.shape[1] !== width || ids.some(id => id < 0 || id >= count)) {
    throw new LoRAError(
      `The file has tokens up to ${Math.max(...ids)} of width ${rows.shape[1]}, but the layer has ${count} of width ` +
        `${width}.`,
    );
  }
  const deltas = tf.tidy(() => tf.sub(tf.tensor2d(rows.data, [ids.length, width]), rowsOf(table, ids, isKernel)));
  try {
    return {shape: deltas.shape, data: await deltas.data<'float32'>()};
  } finally {
    deltas.dispose();
  }
}

/** Checks that a base weight in the file equals the model's. PEFT would replace the model's by the file's. */
async function checkBase(site: Site, base: Values): Promise<void> {
  const weight = torchWeights(baseOf(site.layer))?.find(({torchName}) => torchName === 'weight');
  const original = await originalValues(site, weight?.name ?? 'kernel');
  const replacement = weight?.fromTorch?.(base, original.shape) ?? base;
  const isOfShape = showShape([...original.shape]) === showShape([...replacement.shape]);
  if (!isOfShape || !original.data.every((value, i) => value === replacement.data[i])) {
    throw new LoRAError(
      'The base_layer.weight of the file is not the weight of this model. The adapter belongs to another base, or ' +
        'its base was changed. Load that base; or, if only rounding differs, save the adapter with ' +
        'save_embedding_layers=False.',
    );
  }
}

/** Refuses a weight that may be `[in, out]` as well as `[out, in]`. */
function checkOrientation(layer: tf.layers.Layer): void {
  const [inputs, outputs] = layer.getClassName() === 'Dense' ? (namedWeights(layer).get('kernel')?.shape ?? []) : [];
  if (inputs !== undefined && inputs === outputs && !isConv1D(layer)) {
    throw new LoRAError(
      "The weight is square: it is [in, out] if the module is GPT-2's Conv1D (fan_in_fan_out is true), and " +
        '[out, in] if it is a Linear. Load the model with loadTransformer, which knows; or leave the module out ' +
        'with keyMap.',
    );
  }
}

/** The values of a layer's weight before it trained. */
async function originalValues(site: Site, name: string): Promise<Values> {
  const weight = weightOf(site, name);
  const value = tf.tidy(() => tf.clone(weight.read())); // a layer may compute its weight when it is read
  try {
    return {shape: value.shape, data: await value.data<'float32'>()};
  } finally {
    value.dispose();
  }
}

function weightOf(site: Site, name: string): tf.LayerVariable {
  const layer = baseOf(site.layer);
  // A layer that borrows its weight has none with this name.
  return (originalsOf(site).get(name) ?? adaptationOf(layer)?.weights(layer)[0]?.variable) as tf.LayerVariable;
}

function originalsOf({layer}: Site): Map<string, tf.LayerVariable> {
  return isWrapper(layer) ? layer.originalWeights() : namedWeights(layer);
}

/** An update in the layout of a layer, of a rank that it can hold. */
function layerUpdate(layer: tf.layers.Layer, update: TorchUpdate): TfjsUpdate {
  const className = layer.getClassName();
  const kind = updatedKind(className);
  const reason = reasonNotAdaptable(layer, true);
  if (kind === undefined || reason !== undefined) {
    throw new LoRAError(reason ?? `PEFT has no updates for the class ${className}.`);
  }
  const {axes, embedding = false, depthwise = false, torchName} = kind;
  if (depthwise && update.magnitude !== undefined) {
    throw new LoRAError('PEFT has no DoRA for grouped convolutions.');
  }
  if (update.a.shape.length !== axes || update.embedding !== embedding) {
    const what = update.embedding ? 'an Embedding' : `a weight with ${update.a.shape.length} axes`;
    throw new LoRAError(`The update is of ${what}, but the layer is of class ${className} (${torchName} in PyTorch).`);
  }
  let converted: TfjsUpdate | undefined = fromTorchUpdate(update);
  if (depthwise) {
    converted = asDepthwise(converted);
    if (converted === undefined) {
      throw new LoRAError(
        'In PEFT, the update of a grouped convolution reads all channels, and so mixes what a DepthwiseConv2D ' +
          'keeps apart. Build the model with a Conv2D in its place, whose kernel is that of the groups and zero ' +
          'elsewhere.',
      );
    }
  }
  const shape = [...converted.a.shape.slice(0, -1), ...converted.b.shape.slice(1)];
  const expected = adaptationOf(layer)?.weights(layer)[0]?.variable.shape ?? [];
  if (showShape(shape) !== showShape(expected)) {
    throw new LoRAError(
      `The update is of a weight of shape ${showShape(shape)}, but the layer's is ${showShape(expected)}.`,
    );
  }
  return withinRankLimit(converted);
}

/** The weights of a layer that comes whole, in tfjs's layout and under its names. */
function savedWeights(layer: tf.layers.Layer, saved: ReadonlyMap<string, Values>): Map<string, Values> {
  const className = layer.getClassName();
  const torchNames = torchWeights(layer);
  if (torchNames === undefined) {
    throw new LoRAError(
      `The module is in modules_to_save, but the weights of the class ${className} are not supported.`,
    );
  }
  const weights = namedWeights(layer);
  const valuesOf = new Map<string, Values>();
  for (const [torchName, values] of saved) {
    const weight = torchNames.find(candidate => candidate.torchName === torchName);
    const shape = weight && weights.get(weight.name)?.shape;
    if (weight === undefined || shape === undefined) {
      throw new LoRAError(`The file has a ${torchName}, which the layer, of class ${className}, does not have.`);
    }
    const converted = weight.fromTorch?.(values, shape as number[]) ?? values;
    if (showShape([...converted.shape]) !== showShape(shape) || sizeOf(converted.shape) !== converted.data.length) {
      throw new LoRAError(
        `The file has a ${torchName} of shape ${showShape([...converted.shape])}, and the layer's ${weight.name} is ` +
          `${showShape(shape)}.`,
      );
    }
    valuesOf.set(weight.name, converted);
  }
  return valuesOf;
}

/** Checks that a layer has a bias like the given one, and returns its name. */
function checkBias(layer: tf.layers.Layer, {shape}: Values): string {
  const [bias, ...laterBiases] = biasesOf(layer);
  if (bias === undefined || laterBiases.length > 0 || torchWeights(layer) === undefined) {
    throw new LoRAError(`The file has a bias, but the layer, of class ${layer.getClassName()}, has none.`);
  }
  const [name, variable] = bias;
  if (showShape([...shape]) !== showShape(variable.shape)) {
    throw new LoRAError(
      `The file has a bias of shape ${showShape([...shape])}, but the layer's is ${showShape(variable.shape)}.`,
    );
  }
  return name;
}

/** A bias with that of `B` taken in: `b + s·b_B`. */
function shiftedBias(site: Site, bias: Values | undefined, {bias: ofB, strength}: TorchUpdate): tf.Tensor {
  return tf.tidy(() => {
    const base = bias ? tf.tensor1d(bias.data) : originalsOf(site).get('bias')?.read();
    const shift = tf.mul(tf.tensor1d(ofB?.data ?? new Float32Array()), scalingOf(strength));
    return base === undefined ? shift : tf.add(base, shift);
  });
}
