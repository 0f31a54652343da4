import {
  type AdapterConfig,
  faultsOf,
  type HeadConfig,
  type LoRAConfig,
  type LoRAStrength,
  resolveStrength,
} from '../config';
import {LoRAError} from '../errors';
import {frugalRank, rankLimit} from '../layers/adaptation';
import {adaptableClasses, adaptationOf, hasKernel, loraClassOf, reasonNotAdaptable} from '../layers/registry';
import {biasesOf} from '../layers/stock';
import {wrapperKind} from '../layers/wrapperLayer';
import {isInHead} from './headConfig';
import {describe, matches, matchesAny, unmatched} from './targets';
import type {Site} from './walk';

/** What is to be adapted, with every choice made, and the ranks that were lowered. */
export interface Plan {
  config: AdapterConfig;
  /** By layer path: the rank that the config gives, where it was lowered. */
  capped: Record<string, number>;
  /** Paths of layers whose rank was lowered though it was asked for by naming them. */
  askedFor: string[];
  /** Layers with a kernel that `'all'` leaves as they are though nobody excluded them, and why, by path. */
  left: Record<string, string>;
}

/**
 * Decides for each layer whether it is adapted, and how strongly.
 *
 * A rank above min(fan-in, fan-out) adds nothing. Where it was asked for a layer by name, it is lowered to that; where a layer has it by default or
 * by `'all'`, further, until the update has fewer numbers than the kernel. The scaling stays the one that was asked for.
 *
 * @param head the new head of the model, if it has one. Its layers train in full.
 * @throws LoRAError with a line for each entry of the config that names nothing, or nothing that can be adapted.
 */
export function makePlan(sites: readonly Site[], config: LoRAConfig, head?: HeadConfig): Plan {
  const {targets = 'all', exclude = [], trainable = [], overrides = [], bias = 'none', freezeBaseLayer = true} = config;
  const faults = [
    ...(targets === 'all' ? [] : unmatched('target', targets, sites)),
    ...unmatched('exclude', exclude, sites),
    ...unmatched('trainable', trainable, sites),
    ...overrides.flatMap(override => unmatched('override', override.targets, sites)),
    ...(targets === 'all' ? [] : unadaptable(targets, sites)),
    ...trainable.flatMap(matcher => weightless(sites.filter(site => matches(matcher, site)))),
  ];
  if (faults.length > 0) {
    throw new LoRAError(faults.join('\n'));
  }

  const trained = sites.filter(
    site => site.layer.weights.length > 0 && (matchesAny(trainable, site) || isInHead(head, site)),
  );
  const adapted = sites.filter(
    site =>
      reasonNotAdaptable(site.layer, targets !== 'all') === undefined &&
      (targets === 'all' || matchesAny(targets, site)) &&
      !matchesAny(exclude, site) &&
      !trained.includes(site),
  );
  const left: Plan['left'] = {};
  for (const site of targets === 'all' ? sites : []) {
    const reason = reasonNotAdaptable(site.layer, false);
    if (reason !== undefined && hasKernel(site.layer) && !matchesAny(exclude, site) && !trained.includes(site)) {
      left[site.path] = reason;
    }
  }
  if (adapted.length === 0 && trained.length === 0) {
    const known = `Adaptable: ${adaptableClasses().join(', ')}. The model has: ${sites.map(describe).join(', ')}.`;
    throw new LoRAError([`There is nothing to adapt. ${known}`, ...linesOf(left)].join('\n'));
  }
  // What a user registered may not fit the class.
  const misfits = adapted.flatMap(({layer}) => faultsOf(() => adaptationOf(layer)?.weights(layer)));
  if (misfits.length > 0) {
    throw new LoRAError(misfits.join('\n'));
  }

  const biased =
    bias === 'all' ? sites.filter(site => hasBias(site) && !adapted.includes(site) && !trained.includes(site)) : [];
  const plan: Plan = {
    config: {
      layers: {},
      trainable: trained.map(({path}) => path),
      ...(biased.length > 0 && {biases: biased.map(({path}) => path)}),
      ...(head && {head}),
    },
    capped: {},
    askedFor: [],
    left,
  };
  for (const site of adapted) {
    const override = overrides.find(entry => matchesAny(entry.targets, site));
    const asked = resolveStrength({...strengthOf(config), ...(override && strengthOf(override))});
    const kernels = adaptationOf(site.layer)?.weights(site.layer) ?? [];
    const limit = rankLimit(kernels);
    const isAskedFor = override?.rank !== undefined || (config.rank !== undefined && targets !== 'all');
    const isFree = !isAskedFor && (config.rank === undefined || asked.rank > limit);
    const rank = isFree ? frugalRank(kernels, asked.rank) : Math.min(asked.rank, limit);
    const className = site.layer.getClassName();
    const weights = loraClassOf(className)?.weights;
    plan.config.layers[site.path] = {
      className,
      ...(weights && {weights}),
      ...capStrength(asked, rank),
      freezeBaseLayer,
      ...(bias !== 'none' && freezeBaseLayer && hasBias(site) && {trainBias: true}),
    };
    if (asked.rank > rank) {
      plan.capped[site.path] = asked.rank;
      plan.askedFor.push(...(isAskedFor ? [site.path] : []));
    }
  }
  return plan;
}

/** A line for each layer that is left. */
export function linesOf(left: Plan['left']): string[] {
  return Object.entries(left).map(([path, reason]) => `Layer "${path}" ${reason}`);
}

function hasBias({layer}: Site): boolean {
  return biasesOf(layer).size > 0;
}

/** A strength of at most the given rank, with the same scaling. */
function capStrength(strength: Required<LoRAStrength>, limit: number): Required<LoRAStrength> {
  const {rank, alpha, rankStabilized} = strength;
  if (rank <= limit) {
    return strength;
  }
  const ratio = limit / rank;
  return {rank: limit, alpha: alpha * (rankStabilized ? Math.sqrt(ratio) : ratio), rankStabilized};
}

/** The options of a strength that are given; as in PEFT, each is overridden by itself. */
function strengthOf({rank, alpha, rankStabilized}: LoRAStrength): LoRAStrength {
  return {
    ...(rank !== undefined && {rank}),
    ...(alpha !== undefined && {alpha}),
    ...(rankStabilized !== undefined && {rankStabilized}),
  };
}

function unadaptable(targets: NonNullable<Exclude<LoRAConfig['targets'], 'all'>>, sites: readonly Site[]): string[] {
  return targets.flatMap(matcher => {
    const named = sites.filter(site => matches(matcher, site));
    const reasons = named.map(({layer}) => reasonNotAdaptable(layer, true));
    return reasons.includes(undefined) ? [] : named.map(({path}, i) => `Layer "${path}" ${reasons[i] ?? ''}`);
  });
}

function weightless(named: readonly Site[]): string[] {
  return named.some(({layer}) => layer.weights.length > 0)
    ? []
    : named.map(({path, layer}) => `Layer "${path}" is a ${layer.getClassName()}, which has no weights to train.`);
}

/** Refuses a model that is adapted already. */
export function checkNotAdapted(sites: readonly Site[]): void {
  const adapted = sites.filter(({layer}) => wrapperKind(layer) !== undefined);
  if (adapted.length > 0) {
    throw new LoRAError(
      `The model is adapted already (${adapted
        .slice(0, 3)
        .map(({path}) => path)
        .join(', ')}${adapted.length > 3 ? ', …' : ''}). ` +
        'Take the adapter off with removeLoRA or bake it in with mergeLoRA first.',
    );
  }
}
