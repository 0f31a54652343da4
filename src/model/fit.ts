import {type Adapter, type AdapterConfig, type LayerConfig, resolveStrength} from '../config';
import {LoRAError} from '../errors';
import type {LoRALayer} from '../layers/loraLayer';
import {rankLimit, type UpdateSpec, updateSpecs} from '../layers/adaptation';
import {adaptationOf} from '../layers/registry';
import {namedWeights, showShape} from '../layers/stock';
import {baseOf, isWrapper, wrapperKind} from '../layers/wrapperLayer';
import {describe} from './targets';
import type {Site} from './walk';

/**
 * Checks that an adapter fits a model: its layers are there and of the right class, its tensors are just those that they need, in the
 * right shapes. In a model that is adapted already, its layers must also be adapted, or train in full, as in the adapter.
 *
 * @throws LoRAError with a line for each misfit.
 */
export function checkFit({config, tensors}: Adapter, sites: readonly Site[]): void {
  const byPath = new Map(sites.map(site => [site.path, site]));
  const misfits = new Map<string, string>(); // by the path of the layer
  const expected = new Map<string, readonly number[]>(); // shapes, by the name of the tensor

  for (const [path, layer] of Object.entries(config.layers)) {
    const site = byPath.get(path);
    const misfit = misfitOf(layer, site);
    if (site === undefined || misfit !== undefined) {
      misfits.set(path, misfit ?? NOT_THERE);
    } else {
      for (const {a, b} of updatesOf(site, layer.rank)) {
        expected.set(`${path}/${a.name}`, a.shape).set(`${path}/${b.name}`, b.shape);
      }
      if (!layer.freezeBaseLayer) {
        expectWeights(expected, site);
      }
    }
  }
  for (const path of config.trainable) {
    const site = byPath.get(path);
    if (config.layers[path] !== undefined) {
      misfits.set(path, 'both adapted and trained in full in the adapter');
    } else if (site === undefined) {
      misfits.set(path, NOT_THERE);
    } else if (isWrapper(site.layer) && wrapperKind(site.layer) !== 'trained') {
      misfits.set(path, 'trains in full in the adapter, not in the model');
    } else {
      expectWeights(expected, site);
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

/** Why a layer of an adapter does not fit the layer of the model at its path, if it does not. */
function misfitOf({className, rank, freezeBaseLayer}: LayerConfig, site: Site | undefined): string | undefined {
  if (site === undefined) {
    return NOT_THERE;
  }
  const {layer} = site;
  const adaptation = adaptationOf(layer);
  if (baseOf(layer).getClassName() !== className || adaptation === undefined) {
    return `a ${className} in the adapter, a ${baseOf(layer).getClassName()} in the model`;
  }
  if (isWrapper(layer) && wrapperKind(layer) !== 'lora') {
    return 'adapted in the adapter, not in the model';
  }
  if (!freezeBaseLayer && wrapperKind(layer) === 'lora' && (layer as LoRALayer).isBaseLayerFrozen) {
    return 'with weights of the base in the adapter, which the model keeps frozen';
  }
  const refusal = adaptation.refusal?.(baseOf(layer));
  if (refusal !== undefined) {
    return refusal;
  }
  const limit = rankLimit(adaptation.weights(baseOf(layer)));
  return rank > limit ? `rank ${rank} in the adapter, at most ${limit} in the model` : undefined;
}

/** What is wrong with the tensors of an adapter. Those of a layer that does not fit as a whole are reported with it. */
function tensorFaults(
  tensors: Adapter['tensors'],
  expected: ReadonlyMap<string, readonly number[]>,
  misfits: ReadonlyMap<string, string>,
): string[] {
  const faults: string[] = [];
  for (const [name, shape] of expected) {
    const tensor = tensors[name];
    if (tensor === undefined) {
      faults.push(`${name}: not in the adapter`);
    } else if (showShape(tensor.shape) !== showShape([...shape])) {
      faults.push(`${name}: shape ${showShape(tensor.shape)} in the adapter, ${showShape([...shape])} in the model`);
    }
  }
  for (const name of Object.keys(tensors)) {
    if (!expected.has(name) && ![...misfits.keys()].some(path => name.startsWith(`${path}/`))) {
      faults.push(`${name}: not a weight of the model`);
    }
  }
  return faults;
}

function updatesOf({layer}: Site, rank: number): UpdateSpec[] {
  return updateSpecs(adaptationOf(layer)?.weights(baseOf(layer)) ?? [], rank);
}

function expectWeights(expected: Map<string, readonly number[]>, {path, layer}: Site): void {
  for (const [name, weight] of namedWeights(baseOf(layer))) {
    expected.set(`${path}/${name}`, weight.shape as number[]);
  }
}

/**
 * Checks what an adapter's config says, whoever made it.
 *
 * @throws LoRAError if something is missing, of another type or out of range.
 */
export function checkAdapterConfig(config: unknown): asserts config is AdapterConfig {
  const {layers, trainable} = (config ?? {}) as Partial<AdapterConfig>;
  if (typeof layers !== 'object' || (layers as unknown) === null || !isTextList(trainable)) {
    throw new LoRAError('This is not the config of an adapter: it must list its layers and what it trains in full.');
  }
  for (const [path, layer] of Object.entries(layers)) {
    if (
      typeof layer !== 'object' ||
      typeof layer.className !== 'string' ||
      typeof layer.freezeBaseLayer !== 'boolean'
    ) {
      throw new LoRAError(
        `The adapter's config of layer "${path}" must hold its className, freezeBaseLayer, rank and alpha.`,
      );
    }
    resolveStrength(layer);
  }
}

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(entry => typeof entry === 'string');
}
