import type {AdapterConfig, HeadConfig} from '../adapter/adapter';
import {faultsOf, LoRAError} from '../errors';
import {isInHead} from '../head/headOf';
import {rankLimit} from '../layers/adaptation';
import {adaptableClasses, adaptationOf, hasKernel, loraClassOf, reasonNotAdaptable} from '../layers/registry';
import {type LoRAStrength, resolveStrength, withRank} from '../methods/method';
import {methodOf, namedIn} from '../methods/table';
import type {Site} from '../rewire/walk';
import {biasesOf} from '../tfjs/weights';
import type {LoRAConfig} from './config';
import {describe, matches, matchesAny, unmatched} from './targets';

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
    left,
  };
  for (const site of adapted) {
    const override = overrides.find(entry => matchesAny(entry.targets, site));
    const asked = resolveStrength({...strengthOf(config), ...(override && strengthOf(override))});
    const method = methodOf(override?.method ?? config.method);
    const limit = rankLimit(method, adaptationOf(site.layer)?.weights(site.layer) ?? []);
    const className = site.layer.getClassName();
    const weights = loraClassOf(className)?.weights;
    plan.config.layers[site.path] = {
      className,
      ...namedIn(method),
      ...(weights && {weights}),
      ...(asked.rank > limit ? withRank(asked, limit) : asked),
      freezeBaseLayer,
      ...(bias !== 'none' && freezeBaseLayer && hasBias(site) && {trainBias: true}),
    };
    if (asked.rank > limit) {
      plan.capped[site.path] = asked.rank;
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
