// How the built modules are cut into files, so that a page that loads code later is not made of many small ones.

import {join} from 'node:path';

interface Module {
  readonly importedIds: readonly string[];
  readonly dynamicallyImportedIds: readonly string[];
}

interface Modules {
  getModuleInfo(id: string): Module | null;
}

/** Entry points that register no layer. */
const LIGHT = ['images', 'landmarks', 'quickstart', 'sound', 'words'];

/** The files, from the inside out: what a file imports goes into it too, unless an earlier one has it. */
const FILES = ['plain', 'base', 'core'] as const;

/**
 * Groups for the bundler: files for the modules of the main entry point that code which is loaded later needs as well.
 * esbuild and rolldown cut what a page shares with such code by those that share it, and the pieces compress to several
 * kB more. One file of the package is not cut further. What entry points share that register no layer has a file
 * apart, and so has what of it loads no tfjs. The bundler distributes all other modules.
 *
 * @param folder the one of the sources.
 */
export function sharedFiles(
  folder: string,
): {name: (id: string, modules: Modules) => string | null; priority: number}[] {
  const entriesOf = (names: readonly string[]) => names.map(name => join(folder, `${name}.ts`));
  const fileOf = new Map<string, (typeof FILES)[number]>();
  const distribute = (modules: Modules) => {
    const main = reached(entriesOf(['index']), modules);
    const reachedLater = reachedByImportCalls(main, modules);
    const light = reached(entriesOf(LIGHT), modules);
    for (const name of [...main].filter(one => one.startsWith(folder) && reachedLater.has(one))) {
      const isPlain = !reached([name], modules).has('@tensorflow/tfjs');
      fileOf.set(name, !light.has(name) ? 'core' : isPlain ? 'plain' : 'base');
    }
  };
  return FILES.map((file, i) => ({
    priority: FILES.length - i,
    name: (id, modules) => {
      if (fileOf.size === 0) {
        distribute(modules);
      }
      return fileOf.get(id) === file ? file : null;
    },
  }));
}

/** What modules load later, what those modules load later, and all that they import. */
function reachedByImportCalls(names: Iterable<string>, modules: Modules): Set<string> {
  const found = new Set<string>();
  const isNew = (name: string) => !found.has(name);
  for (let starts = new Set(names); starts.size > 0;) {
    const later = [...starts].flatMap(name => modules.getModuleInfo(name)?.dynamicallyImportedIds ?? []);
    starts = new Set([...reached(later, modules)].filter(isNew));
    starts.forEach(name => found.add(name));
  }
  return found;
}

/** Modules, and all that they import, and so on. */
function reached(ids: readonly string[], modules: Modules): Set<string> {
  const found = new Set(ids);
  for (const id of found) {
    modules.getModuleInfo(id)?.importedIds.forEach(other => found.add(other));
  }
  return found;
}
