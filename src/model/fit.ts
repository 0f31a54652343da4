import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  type AdapterConfig,
  faultsOf,
  kindOf,
  type LayerConfig,
  layerConfigAt,
  resolveStrength,
  resolveWeights,
  type WeightTarget,
} from '../config';
import {LoRAError} from '../errors';
import type {LoRALayer} from '../layers/loraLayer';
import {type Adaptation, rankLimit, type UpdateSpec, updateSpecs} from '../layers/adaptation';
import {adaptationOf, loraClassOf} from '../layers/registry';
import {biasesOf, namedWeights, showShape} from '../layers/stock';
import {baseOf, isWrapper, wrapperKind} from '../layers/wrapperLayer';
import {checkHeadConfig, isInHead} from './headConfig';
import {describe} from './targets';
import type {Site} from './walk';

/**
 * Checks that an adapter fits a model: its layers are there and of the right class, its tensors are just those that they need, in the
 * right shapes and types. In a model that is adapted already, its layers must also be adapted, or train in full, as in the adapter.
 *
 * @throws LoRAError with a line for each misfit.
 */
export function checkFit({config, tensors}: Adapter, sites: readonly Site[]): void {
  const byPath = new Map(sites.map(site => [site.path, site]));
  const trained = new Set(config.trainable);
  const misfits = new Map<string, string>(); // by the path of the layer
  const expected = new Map<string, Expectation>(); // by the name of the tensor

  for (const [path, layer] of Object.entries(config.layers)) {
    const site = byPath.get(path);
    const misfit = misfitOf(layer, site);
    if (site === undefined || misfit !== undefined) {
      misfits.set(path, misfit ?? NOT_THERE);
    } else {
      for (const {a, b} of updatesOf(site, layer)) {
        for (const {name, shape} of [a, b]) {
          expected.set(`${path}/${name}`, {shape, dtype: 'float32'});
        }
      }
      if (!layer.freezeBaseLayer) {
        expectWeights(expected, site, namedWeights(baseOf(site.layer)));
      } else if (layer.trainBias) {
        expectWeights(expected, site, biasesOf(baseOf(site.layer)));
      }
    }
  }
  for (const path of trained) {
    const site = byPath.get(path);
    if (layerConfigAt(config, path) !== undefined) {
      misfits.set(path, 'both adapted and trained in full in the adapter');
    } else if (site === undefined) {
      misfits.set(path, NOT_THERE);
    } else if (isWrapper(site.layer) && wrapperKind(site.layer) !== 'trained') {
      misfits.set(path, 'trains in full in the adapter, not in the model');
    } else {
      expectWeights(expected, site, namedWeights(baseOf(site.layer)));
    }
  }
  for (const path of config.biases ?? []) {
    const site = byPath.get(path);
    const misfit = biasMisfitOf(site);
    if (layerConfigAt(config, path) !== undefined || trained.has(path)) {
      misfits.set(path, 'there twice in the adapter, once for its bias alone');
    } else if (site === undefined || misfit !== undefined) {
      misfits.set(path, misfit ?? NOT_THERE);
    } else {
      expectWeights(expected, site, biasesOf(baseOf(site.layer)));
    }
  }

  for (const site of sites) {
    if (isInHead(config.head, site) && site.layer.weights.length > 0 && !trained.has(site.path)) {
      misfits.set(site.path, 'of the new head, but not among what the adapter brings in full');
    }
  }

  const faults = [
    ...[...misfits].map(([path, misfit]) => `${path}: ${misfit}`),
    ...tensorFaults(tensors, expected, misfits),
  ];
  if (faults.length > 0) {
    const lines = faults.map(fault => `  ${fault}`);
    if ([...misfits.values()].includes(NOT_THERE)) {
      lines.push(`The model has: ${sites.map(describe).join(', ')}.`);
    }
    throw new LoRAError(`The adapter does not fit this model:\n${lines.join('\n')}`);
  }
}

const NOT_THERE = 'not in the model';

/** What the tensor of an adapter has to be. */
interface Expectation {
  shape: number[];
  dtype: tf.DataType;
}

/** Why a layer of an adapter does not fit the layer of the model at its path, if it does not. */
function misfitOf(config: LayerConfig, site: Site | undefined): string | undefined {
  if (site === undefined) {
    return NOT_THERE;
  }
  const {className, rank, freezeBaseLayer, trainBias} = config;
  const {layer} = site;
  const base = baseOf(layer);
  const adaptation = adaptationBy(config, layer);
  if (base.getClassName() !== className || adaptation === undefined) {
    return `a ${className} in the adapter, a ${base.getClassName()} in the model`;
  }
  if (isWrapper(layer) && wrapperKind(layer) !== 'lora') {
    return 'adapted in the adapter, not in the model';
  }
  if (!freezeBaseLayer && wrapperKind(layer) === 'lora' && (layer as LoRALayer).isBaseLayerFrozen) {
    return 'with weights of the base in the adapter, which the model keeps frozen';
  }
  const biasMisfit = trainBias ? biasMisfitOf(site) : undefined;
  if (biasMisfit !== undefined) {
    return biasMisfit;
  }
  const [refusal = adaptation.refusal?.(base)] = faultsOf(() => adaptation.weights(base));
  if (refusal !== undefined) {
    return refusal;
  }
  const weights = adaptation.weights(base);
  const own = wrapperKind(layer) === 'lora' ? (layer as LoRALayer).adaptation.weights(base) : weights;
  if (describeWeights(weights) !== describeWeights(own)) {
    return `updates ${describeWeights(weights)} in the adapter, ${describeWeights(own)} in the model`;
  }
  const limit = rankLimit(weights);
  return rank > limit ? `rank ${rank} in the adapter, at most ${limit} in the model` : undefined;
}

/** How an adapter adapts a layer: by the weights that it names, else as the library does. */
function adaptationBy({className, weights}: LayerConfig, layer: tf.layers.Layer): Adaptation | undefined {
  return weights === undefined ? adaptationOf(layer) : loraClassOf(className, weights)?.adaptation;
}

/** Weights as messages list them, in an order of their own. */
export function describeWeights(weights: readonly WeightTarget[]): string {
  const named = weights.map(({name, outAxes = 1}) => (outAxes === 1 ? name : `${name} (${outAxes} out axes)`));
  return named.sort().join(', ');
}

/** Why the bias of a layer cannot come from an adapter, if it cannot. */
function biasMisfitOf(site: Site | undefined): string | undefined {
  if (site === undefined) {
    return NOT_THERE;
  }
  const {layer} = site;
  const biases = [...biasesOf(baseOf(layer)).keys()];
  if (biases.length === 0) {
    return 'with its bias in the adapter, and without one in the model';
  }
  const fixed = isWrapper(layer) && !biases.every(name => layer.trainedWeights().has(name));
  return fixed ? 'with its bias in the adapter, which the model keeps frozen' : undefined;
}

/** What is wrong with the tensors of an adapter. Those of a layer that does not fit as a whole are reported with it. */
function tensorFaults(
  tensors: Adapter['tensors'],
  expected: ReadonlyMap<string, Expectation>,
  misfits: ReadonlyMap<string, string>,
): string[] {
  const faults: string[] = [];
  for (const [name, {shape, dtype}] of expected) {
    const tensor = tensors[name];
    if (tensor === undefined) {
      faults.push(`${name}: not in the adapter`);
    } else if (showShape(tensor.shape) !== showShape(shape)) {
      faults.push(`${name}: shape ${showShape(tensor.shape)} in the adapter, ${showShape(shape)} in the model`);
    } else if (tensor.dtype !== dtype) {
      faults.push(`${name}: of type ${tensor.dtype} in the adapter, ${dtype} in the model`);
    }
  }
  for (const name of Object.keys(tensors)) {
    if (!expected.has(name) && ownerOf(name, misfits) === undefined) {
      faults.push(`${name}: not a weight of the model`);
    }
  }
  return faults;
}

/**
 * The layer to which a tensor of an adapter belongs: of those that are given, the one with the longest path before the tensor's name. Its
 * cost does not depend on how many there are, since a file may name very many.
 */
export function ownerOf(name: string, paths: {has(path: string): boolean}): string | undefined {
  for (let slash = name.lastIndexOf('/'); slash >= 0; slash = slash > 0 ? name.lastIndexOf('/', slash - 1) : -1) {
    const path = name.slice(0, slash);
    if (paths.has(path)) {
      return path;
    }
  }
  return undefined;
}

function updatesOf({layer}: Site, config: LayerConfig): UpdateSpec[] {
  return updateSpecs(adaptationBy(config, layer)?.weights(baseOf(layer)) ?? [], config.rank);
}

function expectWeights(
  expected: Map<string, Expectation>,
  {path}: Site,
  weights: ReadonlyMap<string, tf.LayerVariable>,
): void {
  for (const [name, {shape, dtype}] of weights) {
    expected.set(`${path}/${name}`, {shape: shape as number[], dtype});
  }
}

/**
 * Checks that a value is an adapter that can be used.
 *
 * @throws LoRAError if it is something else, its config is not one, or it was disposed.
 */
export function checkAdapter(value: unknown): asserts value is Adapter {
  const {config, tensors} = (value ?? {}) as Partial<Adapter>;
  if (typeof tensors !== 'object' || (tensors as unknown) === null) {
    throw new LoRAError(`An adapter is needed, such as getAdapter and loadAdapter return, got ${kindOf(value)}.`);
  }
  checkAdapterConfig(config);
  for (const [name, tensor] of Object.entries(tensors)) {
    if (!((tensor as unknown) instanceof tf.Tensor)) {
      throw new LoRAError(`This is not an adapter: ${name}: no tensor.`);
    }
    if (tensor.isDisposed) {
      throw new LoRAError(`The adapter was disposed: its ${name} is no longer there.`);
    }
  }
}

/** What an adapter's config may say of a layer. What is not understood may not be passed over: it would compute something else. */
const LAYER_FIELDS: Readonly<Record<keyof LayerConfig, true>> = {
  className: true,
  weights: true,
  rank: true,
  alpha: true,
  rankStabilized: true,
  freezeBaseLayer: true,
  trainBias: true,
};

/**
 * Checks what an adapter's config says, whoever made it.
 *
 * @throws LoRAError if something is missing, of another type or out of range.
 */
export function checkAdapterConfig(config: unknown): asserts config is AdapterConfig {
  const {layers, trainable, biases = []} = (config ?? {}) as Partial<AdapterConfig>;
  if (
    typeof layers !== 'object' ||
    (layers as unknown) === null ||
    Array.isArray(layers) ||
    !isTextList(trainable) ||
    !isTextList(biases)
  ) {
    throw new LoRAError('This is not the config of an adapter: it must list its layers and what it trains in full.');
  }
  for (const [path, layer] of Object.entries(layers)) {
    if (
      typeof layer !== 'object' ||
      (layer as unknown) === null ||
      typeof layer.className !== 'string' ||
      typeof layer.freezeBaseLayer !== 'boolean' ||
      (layer.rank as unknown) === undefined ||
      (layer.alpha as unknown) === undefined ||
      !['undefined', 'boolean'].includes(typeof layer.trainBias)
    ) {
      throw new LoRAError(
        `The adapter's config of layer "${path}" must hold its className, freezeBaseLayer, rank and alpha.`,
      );
    }
    const unknown = Object.keys(layer).filter(key => !Object.hasOwn(LAYER_FIELDS, key));
    if (unknown.length > 0) {
      throw new LoRAError(
        `The adapter's config of layer "${path}" holds ${unknown.join(', ')}, which this library does not know.`,
      );
    }
    resolveStrength(layer);
    const [fault] = layer.weights === undefined ? [] : faultsOf(() => resolveWeights(layer.weights));
    if (fault !== undefined) {
      throw new LoRAError(`The adapter's config of layer "${path}": ${fault}`);
    }
  }
  checkHeadConfig((config as AdapterConfig).head);
}

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(entry => typeof entry === 'string');
}
