import {type AdapterConfig, type LayerConfig, type LoRAConfig, type LoRAStrength, resolveStrength} from '../config';
import {LoRAError} from '../errors';
import {rankLimit} from '../layers/adaptation';
import {ADAPTABLE, adaptationOf, hasKernel, reasonNotAdaptable} from '../layers/registry';
import {wrapperKind} from '../layers/wrapperLayer';
import {describe, matches, matchesAny, unmatched} from './targets';
import type {Site} from './walk';

/** What is to be adapted, with every choice made, and the ranks that had to be lowered. */
export interface Plan {
  config: AdapterConfig;
  /** By layer path: the rank that was asked for, where it was more than the kernel can hold. */
  capped: Record<string, number>;
  /** Layers with a kernel that `'all'` leaves as they are though nobody excluded them, and why, by path. */
  left: Record<string, string>;
}

/**
 * Decides for each layer whether it is adapted, and how strongly.
 *
 * A rank above min(fan-in, fan-out) adds nothing, so it is lowered to that; the scaling stays the one that was asked for.
 *
 * @throws LoRAError with a line for each entry of the config that names nothing, or nothing that can be adapted.
 */
export function makePlan(sites: readonly Site[], config: LoRAConfig): Plan {
  const {targets = 'all', exclude = [], trainable = [], overrides = []} = config;
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

  const trained = sites.filter(site => site.layer.weights.length > 0 && matchesAny(trainable, site));
  const adapted = sites.filter(
    site =>
      reasonNotAdaptable(site.layer, targets !== 'all') === undefined &&
      (targets === 'all' || matchesAny(targets, site)) &&
      !matchesAny(exclude, site) &&
      !trained.includes(site),
  );
  if (adapted.length === 0 && trained.length === 0) {
    throw new LoRAError(
      `There is nothing to adapt. Adaptable: ${ADAPTABLE.join(', ')}. The model has: ${sites.map(describe).join(', ')}.`,
    );
  }

  const plan: Plan = {config: {layers: {}, trainable: trained.map(({path}) => path)}, capped: {}, left: {}};
  for (const site of adapted) {
    const override = overrides.find(entry => matchesAny(entry.targets, site));
    const asked = resolveStrength({...strengthOf(config), ...(override && strengthOf(override))});
    const limit = rankLimit(adaptationOf(site.layer)?.weights(site.layer) ?? []);
    plan.config.layers[site.path] = {
      className: site.layer.getClassName(),
      ...capStrength(asked, limit),
      freezeBaseLayer: config.freezeBaseLayer ?? true,
    };
    if (asked.rank > limit) {
      plan.capped[site.path] = asked.rank;
    }
  }
  for (const site of targets === 'all' ? sites : []) {
    const reason = reasonNotAdaptable(site.layer, false);
    if (reason !== undefined && hasKernel(site.layer) && !matchesAny(exclude, site) && !trained.includes(site)) {
      plan.left[site.path] = reason;
    }
  }
  return plan;
}

/** A strength of at most the given rank, with the same scaling. */
function capStrength(
  strength: Required<LoRAStrength>,
  limit: number,
): Omit<LayerConfig, 'className' | 'freezeBaseLayer'> {
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
