import type * as tf from '@tensorflow/tfjs';
import {type Adapter, layerConfigAt} from '../adapter/adapter';
import {ownerOf} from '../adapter/layerTensors';
import {listed, misfitError, showShape} from '../../platform/errors';
import {isInHead} from '../head/headPlace';
import {whyFixed} from '../layers/borrowingLayer';
import type {LayerConfig} from '../layers/layerConfig';
import {describeWeights} from '../layers/weightTargets';
import {classInAdapters, rankLimit, refusedUpdate, type UpdateSpec, updateSpecs} from '../layers/adaptation';
import {adaptationBy} from '../layers/registry';
import {isLoRALayer} from '../layers/loraLayer';
import {baseOf, wrapperKind} from '../layers/layerMarks';
import {isWrapper} from '../layers/wrapperLayer';
import {methodOf} from '../methods/registry';
import type {Site} from '../rewire/walk';
import {biasesOf, namedWeights} from '../../platform/tfjs/weights';
import {describeSite} from './targets';

/**
 * Checks that an adapter fits a model: its layers exist and have the right class, and its tensors are exactly those
 * that they need, in the right shapes and types. If the model is adapted already, its layers must also be adapted, or
 * train in full, as in the adapter.
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
      for (const {prefix, parameters} of updatesOf(site, layer)) {
        for (const {name, shape} of parameters) {
          expected.set(`${path}/${prefix}${name}`, {shape, dtype: 'float32'});
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
    const fixed = site && whyFixed(site.layer);
    if (layerConfigAt(config, path) !== undefined) {
      misfits.set(path, 'both adapted and trained in full in the adapter');
    } else if (site === undefined) {
      misfits.set(path, NOT_THERE);
    } else if (fixed !== undefined || (isWrapper(site.layer) && wrapperKind(site.layer) !== 'trained')) {
      misfits.set(path, fixed ?? 'trains in full in the adapter, not in the model');
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
      misfits.set(site.path, 'of the new head, but not among the layers that train in full in the adapter');
    }
  }

  const faults = [
    ...[...misfits].map(([path, misfit]) => `${path}: ${misfit}`),
    ...tensorFaults(tensors, expected, misfits),
  ];
  if (faults.length > 0) {
    const lines = faults.map(fault => `  ${fault}`);
    if ([...misfits.values()].includes(NOT_THERE)) {
      lines.push(`The model has: ${listed(sites.map(describeSite))}.`);
    }
    throw misfitError(`The adapter does not fit this model:\n${lines.join('\n')}`, {faults});
  }
}

const NOT_THERE = 'not in the model';

/** The required shape and type of an adapter's tensor. */
interface Expectation {
  shape: number[];
  dtype: tf.DataType;
}

/** Why a layer of an adapter does not fit the model's layer at its path, if it does not. */
function misfitOf(config: LayerConfig, site: Site | undefined): string | undefined {
  if (site === undefined) {
    return NOT_THERE;
  }
  const {className, rank, freezeBaseLayer, trainBias} = config;
  const {layer} = site;
  const base = baseOf(layer);
  const adaptation = adaptationBy(config, layer);
  if (classInAdapters(base.getClassName()) !== className || adaptation === undefined) {
    return `a ${className} in the adapter, a ${base.getClassName()} in the model`;
  }
  if (isWrapper(layer) && !isLoRALayer(layer)) {
    return 'adapted in the adapter, not in the model';
  }
  if (!freezeBaseLayer && isLoRALayer(layer) && layer.layerConfig.freezeBaseLayer) {
    return 'with weights of the base in the adapter, which the model keeps frozen';
  }
  const biasMisfit = trainBias ? biasMisfitOf(site) : undefined;
  if (biasMisfit !== undefined) {
    return biasMisfit;
  }
  const faults = adaptation.weightFaults?.(base) ?? [];
  const refusal = faults.length > 0 ? faults.join('\n') : adaptation.refusal?.(base);
  if (refusal !== undefined) {
    return refusal;
  }
  const refused = refusedUpdate(adaptation, methodOf(config.method), config.dropout ?? 0);
  if (refused !== undefined) {
    return refused;
  }
  const weights = adaptation.weights(base);
  const method = methodOf(config.method);
  const [misfit] = weights.flatMap(weight => method.misfit?.(config, weight) ?? []);
  if (misfit !== undefined) {
    return misfit;
  }
  const targetWeights = isLoRALayer(layer) ? layer.adaptation.weights(base) : weights;
  if (describeWeights(weights) !== describeWeights(targetWeights)) {
    return `updates ${describeWeights(weights)} in the adapter, ${describeWeights(targetWeights)} in the model`;
  }
  const limit = rankLimit(method, weights);
  return rank > limit ? `rank ${rank} in the adapter, at most ${limit} in the model` : undefined;
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

/** Faults of an adapter's tensors. Those of a layer that does not fit as a whole are reported with it. */
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

export function updatesOf({layer}: Site, config: LayerConfig): UpdateSpec[] {
  const weights = adaptationBy(config, layer)?.weights(baseOf(layer)) ?? [];
  return updateSpecs(methodOf(config.method), weights, config.rank);
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
