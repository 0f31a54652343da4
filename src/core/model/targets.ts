import type * as tf from '@tensorflow/tfjs';
import {kindOf} from '../../platform/errors';
import {classInAdapters, plainClass} from '../layers/adaptation';
import {baseOf} from '../layers/layerMarks';
import type {Site} from '../rewire/walk';
import {closestTo} from '../../platform/closest';
import type {LayerMatcher, LayerPredicate} from './config';

/** An entry of a config that names layers, and the layers that it names. */
export interface Selection {
  /** The option that holds it, as messages call it. */
  option: 'target' | 'exclude' | 'trainInFull' | 'override';
  matcher: LayerMatcher;
  sites: ReadonlySet<Site>;
  /** An invalid answer of a predicate, which is not called again. */
  faults: readonly string[];
}

/**
 * The layers that each entry of an option names. Calls a predicate once for each layer. A name that no layer has in
 * full names those whose paths end in it after a `/`, as in PEFT.
 */
export function select(
  option: Selection['option'],
  matchers: readonly LayerMatcher[] | LayerPredicate,
  sites: readonly Site[],
): Selection[] {
  return [matchers].flat().map(matcher => {
    const named = new Set<Site>();
    for (const site of sites) {
      const answer = typeof matcher === 'function' ? ask(matcher, site) : matches(matcher, site);
      if (typeof answer !== 'boolean') {
        const fault = `The ${option} ${showMatcher(matcher)} ${answer.fault} for layer "${site.path}".`;
        return {option, matcher, sites: new Set(), faults: [fault]};
      }
      if (answer) {
        named.add(site);
      }
    }
    if (typeof matcher === 'string' && named.size === 0) {
      sites.filter(({path}) => path.endsWith(`/${matcher}`)).forEach(site => named.add(site));
    }
    return {option, matcher, sites: named, faults: []};
  });
}

export function firstNaming(selections: readonly Selection[], site: Site): Selection | undefined {
  return selections.find(({sites}) => sites.has(site));
}

/** An entry that names no layer. */
export interface UnmatchedEntry {
  /** The option that holds it. */
  option: 'targets' | 'exclude' | 'trainInFull' | 'overrides';
  /** The name, pattern or class that matches no layer. */
  entry: LayerMatcher;
  /** The names, paths and classes in the model that are most like it. */
  closest: string[];
}

const OPTIONS = {target: 'targets', exclude: 'exclude', trainInFull: 'trainInFull', override: 'overrides'} as const;

/** The entries that name no layer, unless a predicate failed. */
export function unmatched(selections: readonly Selection[], sites: readonly Site[]): UnmatchedEntry[] {
  return selections
    .filter(({sites: named, faults}) => named.size === 0 && faults.length === 0)
    .map(({option, matcher}) => ({
      option: OPTIONS[option],
      entry: matcher,
      closest: closestTo(textOf(matcher), sites.flatMap(namesOf)),
    }));
}

export function lineOf({option, entry, closest}: UnmatchedEntry): string {
  const called = Object.entries(OPTIONS).find(([, name]) => name === option)?.[0] ?? option;
  const text = typeof entry === 'string' ? entry : '';
  const isEnd = text !== '' && closest.some(name => name.length > text.length && name.endsWith(text));
  const pattern = isEnd ? ` To match names that end so: /${text.replace(/[^\w ]/g, '\\$&')}$/.` : '';
  const hint = closest.length === 0 ? '' : ` Closest: ${closest.join(', ')}.${pattern}`;
  return `No layer matches ${called} ${showMatcher(entry)}.${hint}`;
}

/** An entry as messages show it. */
export function showMatcher(matcher: LayerMatcher): string {
  const text = String(matcher).replace(/\s+/g, ' ');
  const short = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  return typeof matcher === 'string' ? `"${short}"` : short;
}

/** How many characters of an entry a message shows. */
const LONGEST = 80;

/** A layer as messages name it: `outer/dense_1 (Dense)`. */
export function describeSite({path, layer}: Site): string {
  return `${path} (${classNameOf(layer)})`;
}

/** How many layers a message lists. */
const FEW = 5;

/** The layers of a model as a message lists them: all if there are few, otherwise those most like names, one a line. */
export function inventory(sites: readonly Site[], like: readonly string[] = []): string {
  if (sites.length <= FEW) {
    return `The model has: ${sites.map(describeSite).join(', ')}.`;
  }
  const places = new Map(like.map((name, i) => [name, i]));
  const placeOf = (site: Site) => Math.min(...namesOf(site).map(name => places.get(name) ?? like.length));
  const closest = [...sites].sort((one, other) => placeOf(one) - placeOf(other)).slice(0, FEW);
  return [`The model has ${sites.length} layers, such as:`, ...closest.map(site => `  ${describeSite(site)}`)].join(
    '\n',
  );
}

/** Whether a name or a pattern matches a layer by name, path or class, its own or that of a container around it. */
function matches(matcher: string | RegExp, {path, layer, ancestors}: Site): boolean {
  const around = [...ancestors, layer];
  return around.some((candidate, depth) => {
    const candidatePath =
      path.split('/').length === around.length
        ? path
            .split('/')
            .slice(0, depth + 1)
            .join('/')
        : path;
    return typeof matcher === 'string'
      ? matcher === candidate.name || matcher === candidatePath || matcher === classNameOf(candidate)
      : test(matcher, candidate.name) || test(matcher, candidatePath);
  });
}

/** The answer of a predicate about a layer, or why it is invalid. */
function ask(predicate: LayerPredicate, {layer, path}: Site): boolean | {fault: string} {
  try {
    const answer: unknown = predicate(baseOf(layer), path);
    return typeof answer === 'boolean' ? answer : {fault: `must return true or false, got ${kindOf(answer)}`};
  } catch (error) {
    return {fault: `threw "${error instanceof Error ? error.message : String(error)}"`};
  }
}

/** The text of an entry that is compared with names. */
function textOf(matcher: LayerMatcher): string {
  switch (typeof matcher) {
    case 'string':
      return matcher;
    case 'function':
      return '';
    default:
      return matcher.source.replace(/\\[a-zA-Z]|[^\w/-]/g, '');
  }
}

function namesOf({path, layer, ancestors}: Site): string[] {
  return [path, ...[...ancestors, layer].flatMap(candidate => [candidate.name, classNameOf(candidate)])];
}

function classNameOf(layer: tf.layers.Layer): string {
  return classInAdapters(plainClass(baseOf(layer).getClassName()));
}

/** `RegExp.test` without the state that the flags `g` and `y` keep. */
function test(pattern: RegExp, text: string): boolean {
  return text.search(pattern) >= 0;
}
