import {type Adapter, type AdapterConfig, resolveStrength} from '../config';
import {LoRAError} from '../errors';
import {adaptationOf} from '../layers/registry';
import {namedWeights, showShape} from '../layers/stock';
import {factorShapes, fans} from '../ops/factors';
import {describe} from './targets';
import type {Site} from './walk';

/**
 * Checks that an adapter fits a model that is not adapted: its layers are there and of the right class, its tensors are just those that
 * they need, in the right shapes.
 *
 * @throws LoRAError with a line for each misfit.
 */
export function checkFit({config, tensors}: Adapter, sites: readonly Site[]): void {
  const faults: string[] = [];
  const expected = new Map<string, readonly number[]>();
  const byPath = new Map(sites.map(site => [site.path, site]));

  for (const [path, layer] of Object.entries(config.layers)) {
    const site = byPath.get(path);
    const kernel = site && adaptationOf(site.layer)?.kernel(site.layer).shape;
    if (site === undefined) {
      faults.push(`${path}: not in the model`);
    } else if (site.layer.getClassName() !== layer.className || !kernel) {
      faults.push(`${path}: a ${layer.className} in the adapter, a ${site.layer.getClassName()} in the model`);
    } else {
      const {fanIn, fanOut} = fans(kernel as number[]);
      if (layer.rank > Math.min(fanIn, fanOut)) {
        faults.push(`${path}: rank ${layer.rank} in the adapter, at most ${Math.min(fanIn, fanOut)} in the model`);
      }
      const {a, b} = factorShapes(kernel as number[], layer.rank);
      expected.set(`${path}/lora_A`, a).set(`${path}/lora_B`, b);
      if (!layer.freezeBaseLayer) {
        expectWeights(expected, site);
      }
    }
  }
  for (const path of config.trainable) {
    const site = byPath.get(path);
    if (config.layers[path] !== undefined) {
      faults.push(`${path}: both adapted and trained in full in the adapter`);
    } else if (site === undefined) {
      faults.push(`${path}: not in the model`);
    } else {
      expectWeights(expected, site);
    }
  }

  const missingPaths =
    faults.length > 0 && [...Object.keys(config.layers), ...config.trainable].some(path => !byPath.has(path));
  for (const [name, shape] of expected) {
    const tensor = tensors[name];
    if (tensor === undefined) {
      faults.push(`${name}: not in the adapter`);
    } else if (showShape(tensor.shape) !== showShape([...shape])) {
      faults.push(`${name}: shape ${showShape(tensor.shape)} in the adapter, ${showShape([...shape])} in the model`);
    }
  }
  const owners = [...Object.keys(config.layers), ...config.trainable].filter(path => !ownsExpected(path, expected));
  for (const name of Object.keys(tensors)) {
    // The tensors of a layer that does not fit as a whole have been reported with it.
    if (!expected.has(name) && !owners.some(path => name.startsWith(`${path}/`))) {
      faults.push(`${name}: not a weight of the model`);
    }
  }
  if (faults.length > 0) {
    const inventory = missingPaths ? `\nThe model has: ${sites.map(describe).join(', ')}.` : '';
    throw new LoRAError(
      `The adapter does not fit this model:\n${faults.map(fault => `  ${fault}`).join('\n')}${inventory}`,
    );
  }
}

function ownsExpected(path: string, expected: ReadonlyMap<string, unknown>): boolean {
  return [...expected.keys()].some(name => name.startsWith(`${path}/`));
}

function expectWeights(expected: Map<string, readonly number[]>, {path, layer}: Site): void {
  for (const [name, weight] of namedWeights(layer)) {
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
