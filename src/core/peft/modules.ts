import {listed, LoRAError, misfitError, show, throwFaults} from '../../platform/errors';
import {borrowing} from '../layers/borrowingLayer';
import {baseOf} from '../layers/layerMarks';
import {editsBetween} from '../../platform/closest';
import {describeSite} from '../model/targets';
import type {Site} from '../rewire/walk';
import {Budget} from './patternTable';

/**
 * Says how the names of PyTorch's modules and of tfjs's layers correspond.
 *
 * A table has a row for each kind of name: a module's path, and the path of its layer. A `*` matches a part of a name
 * without dots and slashes, the same on both sides. If several rows match, the first of those with the fewest stars
 * counts. The table works in both directions.
 *
 *     {'encoder.layer.*.attention.query': 'layer_*_query', classifier: 'head'}
 *
 * A function is given a name and returns the other: the layer of a module when importing, the module of a layer when
 * exporting. `null` leaves it out; for `undefined` the default holds.
 */
export type KeyMap = Readonly<Record<string, string>> | ((name: string) => string | null | undefined);

/**
 * The names that a `keyMap` gives others: `undefined` if it says nothing of one, `null` to leave it out.
 *
 * @throws LoRAError if a function gives something else; and what the budget throws.
 */
export function nameMapper(
  keyMap: KeyMap,
  way: 'import' | 'export',
  budget: Budget,
): (name: string) => string | null | undefined {
  if (typeof keyMap === 'function') {
    return name => {
      const mapped: unknown = keyMap(name);
      if (mapped !== undefined && mapped !== null && typeof mapped !== 'string') {
        throw new LoRAError(`keyMap gives ${show(mapped)} for ${show(name)}, which is neither a name nor null.`);
      }
      return mapped;
    };
  }
  const plain = new Map<string, string>();
  const starred: {from: string[]; to: string[]}[] = [];
  for (const [module, layer] of Object.entries(keyMap)) {
    const [from, to] = way === 'import' ? [module, layer] : [layer, module];
    if (from.includes('*')) {
      starred.push({from: from.split('*'), to: to.split('*')});
    } else if (!plain.has(from)) {
      plain.set(from, to);
    }
  }
  starred.sort((one, other) => one.from.length - other.from.length);
  return name => {
    const exact = plain.get(name);
    if (exact !== undefined) {
      return exact;
    }
    for (const {from, to} of starred) {
      const parts = starsOf(from, name, budget);
      if (parts !== undefined) {
        return to.map((text, i) => text + (parts[i] ?? '')).join('');
      }
    }
    return undefined;
  };
}

/** @throws LoRAError with a line for each row of a table that cannot be understood. */
export function checkKeyMap(keyMap: unknown): asserts keyMap is KeyMap {
  if (typeof keyMap === 'function') {
    return;
  }
  if (typeof keyMap !== 'object' || keyMap === null || Array.isArray(keyMap)) {
    throw new LoRAError(`keyMap must be a function or a table such as {'encoder.fc': 'dense_1'}, got ${show(keyMap)}.`);
  }
  const faults = Object.entries(keyMap as Record<string, unknown>)
    .filter(([module, layer]) => typeof layer !== 'string' || countStars(module) !== countStars(layer))
    .map(([module, layer]) => `${show(module)}: ${show(layer)}`);
  throwFaults(faults, 'ERR_OPTION', 'Rows of keyMap must be two names with as many * in one as in the other:');
}

function countStars(text: string): number {
  return text.split('*').length;
}

/**
 * The parts of a name that the stars of a pattern match, or `undefined` if it does not match. Stars are greedy, from
 * left to right.
 *
 * @param texts the text before, between and after the stars.
 */
function starsOf(texts: readonly string[], name: string, budget: Budget): string[] | undefined {
  const first = texts[0] ?? '';
  const last = texts.at(-1) ?? '';
  budget.spend(1);
  if (!name.startsWith(first) || !name.endsWith(last)) {
    return undefined;
  }
  // From the last star backwards: at which places of the name it can begin, so that all that follows can stand too.
  const begins = texts.slice(1).map(() => new Uint8Array(name.length + 1));
  const restFits = (star: number, place: number): boolean => {
    const text = texts[star + 1] ?? '';
    return star === begins.length - 1
      ? place === name.length - text.length
      : name.startsWith(text, place) && begins[star + 1]?.[place + text.length] === 1;
  };
  for (const [star, fits] of [...begins.entries()].reverse()) {
    budget.spend(name.length * (1 + (texts[star + 1] ?? '').length / 16));
    for (let place = name.length - 1; place >= 0; place--) {
      if (!isSeparator(name[place]) && (fits[place + 1] === 1 || restFits(star, place + 1))) {
        fits[place] = 1;
      }
    }
  }
  if (begins[0]?.[first.length] !== 1) {
    return undefined;
  }
  let start = first.length;
  return begins.map((_, star) => {
    let end = start;
    for (let place = start; place < name.length && !isSeparator(name[place]); place++) {
      end = restFits(star, place + 1) ? place + 1 : end;
    }
    const matched = name.slice(start, end);
    start = end + (texts[star + 1] ?? '').length;
    return matched;
  });
}

function isSeparator(character: string | undefined): boolean {
  return character === '.' || character === '/';
}

/** A name's parts, whichever way they are separated. */
function partsOfName(name: string): string[] {
  return name.split(/[./]/);
}

/** The candidates that look most like a name. */
export function closestNames(name: string, candidates: readonly string[], count = 3): string[] {
  const plain = simplified(name);
  return candidates
    .map(candidate => ({
      candidate,
      distance: Math.min(
        editsBetween(plain, simplified(candidate)),
        editsBetween(simplified(lastPart(name)), simplified(lastPart(candidate))),
      ),
    }))
    .sort((one, other) => one.distance - other.distance)
    .slice(0, count)
    .map(({candidate}) => candidate);
}

function lastPart(name: string): string {
  return partsOfName(name).at(-1) ?? name;
}

/** A name without what spellings differ in. */
function simplified(name: string): string {
  return name
    .toLowerCase()
    .replace(/[^a-z\d]/g, '')
    .slice(-100);
}

/** How many of the modules that find no layer an error names. */
const SHOWN = 10;

/**
 * Finds the layer of each module: where `keyMap` says; else the one of the same path, whether dots or slashes separate
 * its parts; else the one with the same last part, if one module and one layer alone have it. Modules that `keyMap`
 * maps to `null` are left out.
 *
 * @throws LoRAError with a line for each module that finds none, or one that another has found.
 */
export function meet(
  modules: readonly string[],
  sites: readonly Site[],
  keyMap: KeyMap = {},
  budget = new Budget(),
): Map<string, Site> {
  checkKeyMap(keyMap);
  const mapName = nameMapper(keyMap, 'import', budget);
  const layers = indexOf(sites);
  const siteOf = new Map<string, Site>();
  const faults: (() => string)[] = []; // made when they are shown: a file may name very many modules
  const names = sites.map(({path}) => path);
  const alike = new Map<string, number>();
  modules.forEach(module => alike.set(lastPart(module), (alike.get(lastPart(module)) ?? 0) + 1));
  for (const module of modules) {
    const mapped = mapName(module);
    if (mapped === null) {
      continue;
    }
    const fits =
      mapped === undefined
        ? sitesLike(module, layers, alike.get(lastPart(module)) === 1)
        : (layers.byPath.get(mapped) ?? layers.byName.get(mapped) ?? []);
    const [site] = fits;
    if (site !== undefined && fits.length === 1) {
      siteOf.set(module, site);
      continue;
    }
    const what = mapped === undefined ? '' : `keyMap gives ${show(mapped)}; `;
    faults.push(() =>
      site === undefined
        ? `${module}: ${what}there is no such layer. Closest: ${closestNames(mapped ?? module, names).join(', ')}`
        : `${module}: ${what}could be ${fits.map(({path}) => path).join(' or ')}`,
    );
  }
  const taken = new Map<Site, string>();
  for (const [module, site] of siteOf) {
    const other = taken.get(site);
    if (other !== undefined) {
      faults.push(() => `${module}: matches layer ${site.path}, and so does ${other}`);
    }
    taken.set(site, module);
  }
  if (faults.length > 0) {
    const shown = faults.slice(0, SHOWN).map(fault => `  ${fault()}`);
    const more = faults.length > SHOWN ? [`  and ${faults.length - SHOWN} more`] : [];
    throw misfitError(
      [
        "The adapter's modules do not match the model's layers:",
        ...shown,
        ...more,
        "Say which is which with keyMap, such as {'encoder.layer.*.attention.query': 'layer_*_query'}.",
        `The model has: ${listed(sites.map(describeSite))}.`,
      ].join('\n'),
    );
  }
  return siteOf;
}

interface LayerIndex {
  byPath: Map<string, Site[]>;
  byName: Map<string, Site[]>;
  /** Layers with weights by their paths with dots for slashes. Others, such as an input, are no modules. */
  byParts: Map<string, Site[]>;
  /** Layers with weights, by the last parts of their paths. */
  byLastPart: Map<string, Site[]>;
}

function indexOf(sites: readonly Site[]): LayerIndex {
  const weighty = sites.filter(({layer}) => layer.weights.length > 0 || borrowing(baseOf(layer)) !== undefined);
  return {
    byPath: groupBy(sites, ({path}) => path),
    byName: groupBy(sites, ({layer}) => layer.name),
    byParts: groupBy(weighty, ({path}) => partsOfName(path).join('.')),
    byLastPart: groupBy(weighty, ({path}) => lastPart(path)),
  };
}

function groupBy(sites: readonly Site[], keyOf: (site: Site) => string): Map<string, Site[]> {
  const groups = new Map<string, Site[]>();
  for (const site of sites) {
    const group = groups.get(keyOf(site)) ?? [];
    group.push(site);
    groups.set(keyOf(site), group);
  }
  return groups;
}

/**
 * The layers that a module may be by its name.
 *
 * @param isAlone whether no other module has the same last part.
 */
function sitesLike(module: string, {byParts, byLastPart}: LayerIndex, isAlone: boolean): Site[] {
  // Modules with the same last part may be several layers: it is not known which is which.
  return byParts.get(partsOfName(module).join('.')) ?? (isAlone ? byLastPart.get(lastPart(module)) : undefined) ?? [];
}

/**
 * The paths that layers have as modules: what `keyMap` says, else their own with dots for slashes. Layers that it maps
 * to `null` are left out.
 *
 * @throws LoRAError if two layers would be one module.
 */
export function modulePaths(sites: readonly Site[], keyMap: KeyMap = {}): Map<string, string> {
  checkKeyMap(keyMap);
  const mapName = nameMapper(keyMap, 'export', new Budget());
  const paths = new Map<string, string>();
  const taken = new Map<string, string>();
  for (const {path} of sites) {
    const mapped = mapName(path);
    if (mapped === null) {
      continue;
    }
    const module = mapped ?? path.replaceAll('/', '.');
    const other = taken.get(module);
    if (other !== undefined) {
      throw misfitError(
        `Layers ${other} and ${path} would both be module ${show(module)}. Tell them apart with keyMap.`,
      );
    }
    taken.set(module, path);
    paths.set(path, module);
  }
  return paths;
}
