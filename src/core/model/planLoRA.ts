import type * as tf from '@tensorflow/tfjs';
import {layerConfigAt} from '../adapter/adapter';
import {faultsOf, notReadyError} from '../../platform/errors';
import {type HeadPlace, headOf, isInHead, placeOf} from '../head/headPlace';
import {borrowing} from '../layers/borrowingLayer';
import {updateSpecs} from '../layers/adaptation';
import type {LayerConfig} from '../layers/layerConfig';
import {adaptationOf, hasKernel, reasonNotAdaptable} from '../layers/registry';
import {scalingOf} from '../methods/lora';
import {checkNotAdapted, type Site, sitesOf} from '../rewire/walk';
import {checkModel} from '../../platform/tfjs/checkModel';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {LayerInternals} from '../../platform/tfjs/layerFields';
import {shortName} from '../../platform/tfjs/configs';
import {biasesOf, countNumbers} from '../../platform/tfjs/weights';
import {checkConfig, type LoRAConfig, type UncheckedConfig} from './config';
import {makePlan, type Plan} from './plan';
import {count, countsLine, inColumns, fourDigits} from './table';
import {firstNaming, type Selection, showMatcher, type UnmatchedEntry} from './targets';
import {methodOf} from '../methods/registry';

/** What `applyLoRA` would do with a layer that has weights. */
export interface PlannedLayer {
  /** The name of the layer, after those of the models around it: `body/block1/dense`. */
  path: string;
  /** The class of the layer, such as `Dense`. */
  className: string;
  /**
   * `'adapted'`: it has an update. `'trained'`: it trains in full. `'bias'`: only its bias trains. `'skipped'`: it has
   * a kernel, and is frozen. `'frozen'`: it has no kernel, and is frozen.
   */
  role: 'adapted' | 'trained' | 'bias' | 'skipped' | 'frozen';
  /** Why: the entry of the config that names it, or what keeps it from being adapted. */
  reason: string;
  /** The method of an adapted layer, if not LoRA. */
  method?: LayerConfig['method'];
  /** Rank of the update of an adapted layer. */
  rank?: number;
  /** The requested rank, if it is more than the kernel can hold. */
  cappedFrom?: number;
  /** The strength of the update, if the layer would be adapted. */
  alpha?: number;
  /** The factor of the update, if the layer would be adapted. */
  scaling?: number;
  /** How many parameters would train: those of factors, of biases, or all of the layer. */
  trainableParameters: number;
}

/** What `applyLoRA` would do with a model. */
export interface LoRAPlan {
  /** The layers that have weights, in the order of the model. Empty if the config itself is malformed. */
  layers: PlannedLayer[];
  /** Where `replaceHead` put the new head of the model, and why. */
  head?: HeadPlace;
  /** The entries of the config that name no layer, with the closest names. */
  unmatched: UnmatchedEntry[];
  /** Why `applyLoRA` would refuse, one line for each fault; empty if it would not. */
  faults: string[];
  /** How many values would train, in all layers. */
  trainableParameters: number;
  /** The parameters of the adapted model: the base's and those of the factors. */
  totalParameters: number;
  /** The plan as a table. */
  toString(): string;
}

/**
 * Shows what `applyLoRA(model, config)` would do, without doing it: which layers it would adapt, at which rank, with
 * how many parameters, which layers would train in full or stay as they are, and why.
 *
 * `faults` lists what is wrong with the config, as `applyLoRA` would report it. Only `applyLoRA` itself finds layers
 * that cannot be rebuilt from their configs.
 *
 * @param model the plain model that is to be adapted.
 * @param config what to adapt, and how, as for `applyLoRA`.
 * @returns the plan; `String(plan)` is a table.
 * @throws LoRAError `ERR_OPTION` if it is no layers model, `ERR_NOT_READY` if it is not built, `ERR_NOT_ADAPTED` if it
 *     is adapted already.
 * @example
 *     console.log(String(planLoRA(model, {rank: 8, targets: 'linear'})));
 */
export function planLoRA(model: tf.LayersModel, config: LoRAConfig = {}): LoRAPlan {
  checkModel(model);
  const sites = adaptableSites(model);
  const plan = planFor(model, sites, config);
  const {unmatched, faults, malformed} = plan;
  const planned = sites.filter(({layer}) => !malformed && (layer.weights.length > 0 || borrowing(layer) !== undefined));
  const layers = planned.map(site => rowOf(site, plan));
  const variables = new Set(sites.flatMap(({layer}) => layer.weights));
  const factors = planned.reduce((sum, site) => sum + numbersIn(site, layerConfigAt(plan.config, site.path), false), 0);
  const trainableParameters = layers.reduce((sum, layer) => sum + layer.trainableParameters, 0);
  const totalParameters = countNumbers(variables) + factors;
  const head = placeOf(model);
  const counted = {layers, ...(head && {head}), unmatched, faults, trainableParameters, totalParameters};
  return {...counted, toString: () => format(counted)};
}

/** The plan for a model that can be adapted; for a malformed config, it has only faults. */
export function planFor(model: tf.LayersModel, sites: readonly Site[], config: UncheckedConfig): Plan {
  const faults = faultsOf(() => checkConfig(config));
  return faults.length > 0
    ? {...NOTHING, malformed: true, faults: faults.flatMap(fault => fault.split('\n'))}
    : makePlan(model, sites, config, headOf(model));
}

const NOTHING: Plan = {
  config: {layers: {}, trainable: []},
  capped: {},
  askedFor: [],
  skipped: {},
  targets: 'named',
  selections: {targets: [], exclude: [], trainInFull: [], overrides: []},
  unmatched: [],
  faults: [],
  malformed: false,
};

/**
 * The layers of a model that can be adapted.
 *
 * @throws LoRAError if it is adapted already or not built.
 */
export function adaptableSites(model: tf.LayersModel): Site[] {
  const sites = sitesOf(model);
  checkNotAdapted(sites);
  const unbuilt = sites.filter(({layer}) => !layer.built);
  if (sites.length === 0 || unbuilt.length > 0) {
    throw notReadyError(`The model is not built: give its first layer an inputShape, so that its weights exist.`);
  }
  return sites;
}

function rowOf(site: Site, plan: Plan): PlannedLayer {
  const {path, layer} = site;
  const {config, capped, selections, targets} = plan;
  const named = {path, className: shortName(layer.getClassName())};
  const update = layerConfigAt(config, path);
  if (update !== undefined) {
    const reasons = [
      targets === 'named' ? reasonBy(selections.targets, site) : `targets: '${targets}'`,
      reasonBy(selections.overrides, site),
    ].filter(reason => reason !== undefined);
    const {rank, alpha, method} = update;
    const cappedFrom = Object.hasOwn(capped, path) ? capped[path] : undefined;
    return {
      ...named,
      role: 'adapted',
      reason: reasons.join(', '),
      ...(method !== undefined && {method}),
      rank,
      ...(cappedFrom !== undefined && {cappedFrom}),
      alpha,
      scaling: scalingOf(update),
      trainableParameters:
        numbersIn(site, update, true) +
        countNumbers(
          !update.freezeBaseLayer ? trainableOf(layer) : update.trainBias === true ? biasesOf(layer).values() : [],
        ),
    };
  }
  if (config.trainable.includes(path)) {
    const reason = isInHead(config.head, site) ? 'new head' : (reasonBy(selections.trainInFull, site) ?? '');
    return {...named, role: 'trained', reason, trainableParameters: countNumbers(trainableOf(layer))};
  }
  if (config.biases?.includes(path) === true) {
    return {
      ...named,
      role: 'bias',
      reason: "bias: 'all'",
      trainableParameters: countNumbers(biasesOf(layer).values()),
    };
  }
  const role = hasKernel(layer) ? 'skipped' : 'frozen';
  return {...named, role, reason: reasonSkipped(site, plan), trainableParameters: 0};
}

/** Why a layer is frozen. */
function reasonSkipped(site: Site, {skipped, targets: group, selections: {targets, exclude}}: Plan): string {
  const {path, layer} = site;
  if (!hasKernel(layer)) {
    return 'It has no kernel.';
  }
  const excluded = reasonBy(exclude, site);
  const unnamed =
    group === 'linear' || group === 'head' || (targets.length > 0 && firstNaming(targets, site) === undefined)
      ? 'It is not among the targets.'
      : undefined;
  const reason = Object.hasOwn(skipped, path) ? skipped[path] : undefined;
  return excluded ?? reason ?? unnamed ?? reasonNotAdaptable(layer, targets.length > 0) ?? 'It is not adapted.';
}

function reasonBy(selections: readonly Selection[], site: Site): string | undefined {
  const selection = firstNaming(selections, site);
  return selection && `${selection.option} ${showMatcher(selection.matcher)}`;
}

/** How many parameters an update has, or how many of them train. */
function numbersIn({layer}: Site, update: LayerConfig | undefined, trainedAlone: boolean): number {
  const weights = update === undefined ? [] : (adaptationOf(layer)?.weights(layer) ?? []);
  return updateSpecs(methodOf(update?.method), weights, update?.rank ?? 1)
    .flatMap(({parameters}) => parameters)
    .reduce(
      (sum, {shape, trains}) =>
        sum + (trains || !trainedAlone ? shape.reduce((product, size) => product * size, 1) : 0),
      0,
    );
}

/** How many parameters of a layer that trains in full train, though it may be frozen now. */
function trainableOf(layer: tf.layers.Layer): tf.LayerVariable[] {
  if (layer.trainableWeights.length > 0) {
    return layer.trainableWeights;
  }
  // A frozen layer lists all of its weights as such.
  const {_nonTrainableWeights: never} = fieldsOf<LayerInternals>(layer);
  return layer.weights.filter(weight => !never.includes(weight));
}

function format({
  layers,
  head,
  faults,
  trainableParameters,
  totalParameters,
}: Omit<LoRAPlan, 'toString' | 'unmatched'>): string {
  const rows = layers.map(
    ({path, className, method, role, rank, cappedFrom, alpha, trainableParameters: numbers, reason}) => [
      path,
      method === undefined ? className : `${className}, ${method}`,
      role,
      rank === undefined ? '' : cappedFrom === undefined ? String(rank) : `${rank} (not ${cappedFrom})`,
      alpha === undefined ? '' : fourDigits(alpha),
      numbers === 0 ? '' : count(numbers),
      reason,
    ],
  );
  return [
    ...(layers.length > 0 ? inColumns([['layer', 'class', 'role', 'rank', 'alpha', 'trainable', 'why'], ...rows]) : []),
    ...(head === undefined ? [] : [head.reason]),
    ...(faults.length > 0
      ? ['applyLoRA refuses this:', ...faults.map(fault => `  ${fault}`)]
      : [countsLine(trainableParameters, totalParameters)]),
  ].join('\n');
}
