import {listed, LoRAError, show} from '../errors';
import {Budget} from '../formats/budget';
import {describe} from '../model/targets';
import type {Site} from '../rewire/walk';
import {checkKeyMap, closest, type KeyMap, lastPart, nameMapper, partsOf} from './keyMap';

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
  const found = new Map<string, Site>();
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
      found.set(module, site);
      continue;
    }
    const what = mapped === undefined ? '' : `keyMap gives ${show(mapped)}; `;
    faults.push(() =>
      site === undefined
        ? `${module}: ${what}there is no such layer. Closest: ${closest(mapped ?? module, names).join(', ')}`
        : `${module}: ${what}could be ${fits.map(({path}) => path).join(' or ')}`,
    );
  }
  const taken = new Map<Site, string>();
  for (const [module, site] of found) {
    const other = taken.get(site);
    if (other !== undefined) {
      faults.push(() => `${module}: meets layer ${site.path}, and so does ${other}`);
    }
    taken.set(site, module);
  }
  if (faults.length > 0) {
    const shown = faults.slice(0, SHOWN).map(fault => `  ${fault()}`);
    const more = faults.length > SHOWN ? [`  and ${faults.length - SHOWN} more`] : [];
    throw new LoRAError(
      [
        "The adapter's modules do not match the model's layers:",
        ...shown,
        ...more,
        "Say which is which with keyMap, such as {'encoder.layer.*.attention.query': 'layer_*_query'}.",
        `The model has: ${listed(sites.map(describe))}.`,
      ].join('\n'),
    );
  }
  return found;
}

/** The layers of a model by what a module's name may say of them. */
interface LayerIndex {
  byPath: Map<string, Site[]>;
  byName: Map<string, Site[]>;
  /**
   * Layers with weights, by their paths with dots for slashes. The others are no modules, an input of the same name,
   * say.
   */
  byParts: Map<string, Site[]>;
  /** Layers with weights, by the last parts of their paths. */
  byLastPart: Map<string, Site[]>;
}

function indexOf(sites: readonly Site[]): LayerIndex {
  const weighty = sites.filter(({layer}) => layer.weights.length > 0);
  return {
    byPath: groupBy(sites, ({path}) => path),
    byName: groupBy(sites, ({layer}) => layer.name),
    byParts: groupBy(weighty, ({path}) => partsOf(path).join('.')),
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
  // Several modules of one last part are several layers, of which we cannot say which is which.
  return byParts.get(partsOf(module).join('.')) ?? (isAlone ? byLastPart.get(lastPart(module)) : undefined) ?? [];
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
      throw new LoRAError(
        `Layers ${other} and ${path} would both be module ${show(module)}. Tell them apart with keyMap.`,
      );
    }
    taken.set(module, path);
    paths.set(path, module);
  }
  return paths;
}
