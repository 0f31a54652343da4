import type * as tf from '@tensorflow/tfjs';
import type {AdapterConfig, HeadConfig} from '../adapter/adapter';
import {throwFaults} from '../../platform/errors';
import {isInHead, newLayersOf} from '../head/headPlace';
import {whyFixed, whyUntrained} from '../layers/borrowingLayer';
import {type Adaptation, classInAdapters, rankLimit, refusedUpdate, updateSpecs} from '../layers/adaptation';
import type {LayerConfig} from '../layers/layerConfig';
import {adaptableClasses, adaptationOf, hasKernel, loraClassOf, reasonNotAdaptable} from '../layers/registry';
import type {AdaptableWeight, LoRAStrength, Method} from '../methods/method';
import {resolveStrength, withRank} from '../methods/lora';
import {chosenMethod, namedIn} from '../methods/registry';
import type {Site} from '../rewire/walk';
import {biasesOf} from '../../platform/tfjs/weights';
import {type UncheckedConfig, type UncheckedOverride, withMethod} from './config';
import {linearSites, usualTargets} from './linearTargets';
import {firstNaming, inventory, lineOf, select, type Selection, unmatched, type UnmatchedEntry} from './targets';

/** The resolved choices for adapting a model, and the ranks that were lowered. */
export interface Plan {
  config: AdapterConfig;
  /** The rank that the config gives, by layer path, if it was lowered. */
  capped: Record<string, number>;
  /** Paths of layers whose rank was lowered although the config names them. */
  askedFor: string[];
  /** Why `'all'` leaves a layer with a kernel unadapted though nobody excluded it, by path. */
  skipped: Record<string, string>;
  /** Which layers are adapted: those that entries name, or a group. */
  targets: 'named' | 'all' | 'linear' | 'head';
  /** The layers that the entries of the config name. */
  selections: Record<'targets' | 'exclude' | 'trainInFull' | 'overrides', readonly Selection[]>;
  /** The entries of the config that name no layer. */
  unmatched: UnmatchedEntry[];
  /** Faults, one line each. Nothing may be adapted by a plan with faults. */
  faults: string[];
  /** Whether the config itself is malformed, so that nothing was decided. */
  malformed: boolean;
}

/**
 * Decides for each layer whether it is adapted, and how strongly.
 *
 * A rank above min(fan-in, fan-out) adds nothing. For a layer named in the config, it is lowered to that; by default or
 * with `'all'`, it is lowered further, until the update has fewer values than the kernel. The scaling stays as
 * requested.
 *
 * @param model the model whose sites these are.
 * @param head the new head of the model, if it has one. Its layers train in full, and so do those that the model's
 *     metadata says are new, unless they are targets or excluded.
 * @returns a plan with a fault for each entry of the config that names nothing, or nothing that can be adapted.
 */
export function makePlan(
  model: tf.LayersModel,
  sites: readonly Site[],
  config: UncheckedConfig,
  head?: HeadConfig,
): Plan {
  const {targets = usualTargets(sites), bias = 'none'} = config;
  const {selections, overridden} = selectionsOf(sites, {...config, targets});
  const unmatchedEntries = unmatched(Object.values(selections).flat(), sites);
  const {trained, chosen, skipped} = choose(model, sites, {targets, selections, head});
  // An adaptation that a user registered may not fit the class.
  const misfits = new Map(
    chosen.map(site => [site, adaptationOf(site.layer)?.weightFaults?.(site.layer) ?? []] as const),
  );
  const adapted = chosen.filter(site => misfits.get(site)?.length === 0);
  const updates = adapted.map(site => {
    const override = overridden.find(({entries}) => firstNaming(entries, site) !== undefined)?.override;
    return {path: site.path, ...updateOf(site, {...config, targets}, override)};
  });
  const capped = updates.flatMap(({path, cappedFrom}) =>
    cappedFrom === undefined ? [] : [[path, cappedFrom] as const],
  );
  const biased =
    bias === 'all'
      ? sites.filter(site => biasesOf(site.layer).size > 0 && !adapted.includes(site) && !trained.includes(site))
      : [];
  const inEntries = entryFaults(selections, unmatchedEntries);
  const isIdle = chosen.length === 0 && trained.length === 0 && inEntries.length === 0;
  return {
    config: {
      layers: Object.fromEntries(updates.map(({path, layer}) => [path, layer])),
      trainable: trained.map(({path}) => path),
      ...(biased.length > 0 && {biases: biased.map(({path}) => path)}),
      ...(head && {head}),
    },
    capped: Object.fromEntries(capped),
    askedFor: updates
      .filter(({cappedFrom, isAskedFor}) => cappedFrom !== undefined && isAskedFor)
      .map(({path}) => path),
    skipped,
    targets: typeof targets === 'string' ? targets : 'named',
    selections,
    unmatched: unmatchedEntries,
    faults: [
      ...inEntries,
      ...(isIdle
        ? targets === 'head'
          ? [NO_HEAD]
          : [
              `There is nothing to adapt. Adaptable: ${adaptableClasses().join(', ')}. ${inventory(sites)}`,
              ...linesOf(skipped),
            ]
        : []),
      ...[...misfits.values()].flat(),
      ...updates.flatMap(({path, refusal}) => (refusal === undefined ? [] : [`Layer "${path}": ${refusal}`])),
    ],
    malformed: false,
  };
}

type Targets = NonNullable<UncheckedConfig['targets']>;

/** A config whose targets are resolved. */
type Targeted = UncheckedConfig & {targets: Targets};

function selectionsOf(sites: readonly Site[], {targets, exclude = [], trainInFull = [], overrides = []}: Targeted) {
  const overridden = overrides.map(override => ({override, entries: select('override', override.targets, sites)}));
  const selections = {
    targets: typeof targets === 'string' ? [] : select('target', targets, sites),
    exclude: select('exclude', exclude, sites),
    trainInFull: select('trainInFull', trainInFull, sites),
    overrides: overridden.flatMap(({entries}) => entries),
  };
  return {selections, overridden};
}

/** The layers that train in full, those to adapt, and why `'all'` skips others. */
function choose(
  model: tf.LayersModel,
  sites: readonly Site[],
  {targets, selections, head}: {targets: Targets; selections: Plan['selections']; head: HeadConfig | undefined},
): {trained: Site[]; chosen: Site[]} & Pick<Plan, 'skipped'> {
  const isNamed = (option: keyof Plan['selections'], site: Site) => firstNaming(selections[option], site) !== undefined;
  const fresh = newLayersOf(model);
  const isFresh = (site: Site) => fresh.has(site.path) && !isNamed('targets', site) && !isNamed('exclude', site);
  const trained = sites.filter(
    site =>
      site.layer.weights.length > 0 &&
      whyFixed(site.layer) === undefined &&
      (isNamed('trainInFull', site) || isInHead(head, site) || isFresh(site)),
  );
  const untrained = sites.filter(site => !trained.includes(site) && !isNamed('exclude', site));
  const linear = targets === 'linear' ? linearSites(model, sites) : undefined;
  const chosen = untrained.filter(
    site =>
      reasonNotAdaptable(site.layer, targets !== 'all') === undefined &&
      (targets === 'all' || linear?.has(site) === true || isNamed('targets', site)),
  );
  const skipped = (targets === 'all' ? untrained : []).flatMap(({path, layer}) => {
    const reason = hasKernel(layer) ? reasonNotAdaptable(layer, false) : undefined;
    return reason === undefined ? [] : [[path, reason] as const];
  });
  return {trained, chosen, skipped: Object.fromEntries(skipped)};
}

/** How a layer is adapted, the rank that was lowered, and why it cannot be adapted so. */
function updateOf(
  {layer}: Site,
  config: Targeted,
  override: UncheckedOverride | undefined,
): {layer: LayerConfig; cappedFrom: number | undefined; isAskedFor: boolean; refusal: string | undefined} {
  const {targets, bias = 'none', freezeBaseLayer = true} = config;
  const method = chosenMethod(override === undefined ? config : withMethod(override, config));
  const asked = resolveStrength(
    method.hasRank === false ? {rank: 1} : {...strengthOf(config), ...(override && strengthOf(override))},
  );
  const dropout = override?.dropout ?? config.dropout ?? 0;
  const adaptation = adaptationOf(layer) as Adaptation;
  const kernels = adaptation.weights(layer);
  const limit = rankLimit(method, kernels);
  const isAskedFor = override?.rank !== undefined || (config.rank !== undefined && typeof targets !== 'string');
  const isFree = !isAskedFor && (config.rank === undefined || asked.rank > limit);
  const rank = isFree ? frugalRank(method, kernels, asked.rank) : Math.min(asked.rank, limit);
  const className = layer.getClassName();
  const weights = loraClassOf(className)?.weights;
  return {
    layer: {
      className: classInAdapters(className),
      ...namedIn(method),
      ...(weights && {weights}),
      ...(asked.rank > rank ? withRank(asked, rank) : asked),
      ...(dropout > 0 && {dropout}),
      freezeBaseLayer,
      ...(bias !== 'none' && freezeBaseLayer && biasesOf(layer).size > 0 && {trainBias: true}),
    },
    cappedFrom: asked.rank > rank ? asked.rank : undefined,
    isAskedFor,
    refusal: refusedUpdate(adaptation, method, dropout),
  };
}

/** Faults of the entries of a config: malformed ones, those that name nothing, or nothing that can be changed so. */
function entryFaults(selections: Plan['selections'], unmatchedEntries: readonly UnmatchedEntry[]): string[] {
  return [
    ...Object.values(selections)
      .flat()
      .flatMap(({faults}) => faults),
    ...unmatchedEntries.map(lineOf),
    ...selections.targets.flatMap(unadaptable),
    ...selections.trainInFull.flatMap(weightless),
  ];
}

const NO_HEAD =
  "targets: 'head' trains a new head alone, but the model has none. Give it one with replaceHead, or name the layers " +
  "that train: {targets: 'head', trainInFull: ['classifier']}.";

/**
 * Refuses a plan that has faults.
 *
 * @throws LoRAError with a line for each.
 */
export function checkPlan({faults, unmatched: entries, malformed}: Plan, sites: readonly Site[]): void {
  const like = entries.flatMap(({closest}) => closest);
  const lines = faults.length > 0 && entries.length > 0 ? [...faults, inventory(sites, like)] : faults;
  throwFaults(lines, malformed ? 'ERR_OPTION' : 'ERR_MISFIT');
}

export function linesOf(skipped: Plan['skipped']): string[] {
  return Object.entries(skipped).map(([path, reason]) => `Layer "${path}": ${reason}`);
}

/** The given options of a strength; as in PEFT, each is overridden separately. */
function strengthOf({rank, alpha, rankStabilized}: LoRAStrength): LoRAStrength {
  return {
    ...(rank !== undefined && {rank}),
    ...(alpha !== undefined && {alpha}),
    ...(rankStabilized !== undefined && {rankStabilized}),
  };
}

function unadaptable({sites}: Selection): string[] {
  const named = [...sites];
  const reasons = named.map(({layer}) => reasonNotAdaptable(layer, true));
  return reasons.includes(undefined) ? [] : named.map(({path}, i) => `Layer "${path}": ${reasons[i] ?? ''}`);
}

function weightless({sites}: Selection): string[] {
  const named = [...sites];
  return named.some(({layer}) => layer.weights.length > 0 && whyUntrained(layer) === undefined)
    ? []
    : named.map(({path, layer}) => {
        const reason = whyUntrained(layer) ?? `A ${layer.getClassName()} has no weights to train.`;
        return `Layer "${path}": ${reason}`;
      });
}

/** The greatest rank, up to `rank`, whose updates have fewer values than their weights; 1 if none has. */
export function frugalRank(method: Method, weights: readonly AdaptableWeight[], rank: number): number {
  const numbers = sizeOf(weights.map(({variable}) => variable));
  const updates = (r: number) =>
    sizeOf(
      updateSpecs(method, weights, r).flatMap(({parameters}) =>
        parameters.filter(({name}) => method.shared?.[name] === undefined),
      ),
    );
  let frugal = Math.min(rank, rankLimit(method, weights));
  while (frugal > 1 && updates(frugal) >= numbers) {
    frugal--;
  }
  return frugal;
}

function sizeOf(shaped: readonly {shape: tf.Shape}[]): number {
  return shaped.reduce(
    (sum, {shape}) => sum + shape.reduce<number>((product, length) => product * (length ?? 1), 1),
    0,
  );
}
