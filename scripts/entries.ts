import manifest from '../package.json';

/** The entry points beside `tfjs-lora` itself, by name, as `exports` in package.json lists them: `node`, `graph`, … */
export const ENTRIES: readonly string[] = Object.keys(manifest.exports).flatMap(nameOf);

/** Those of them of which Node takes another file than a page does. */
export const NODE_ENTRIES: readonly string[] = Object.entries(manifest.exports)
  .filter(([, conditions]) => typeof conditions === 'object' && 'node' in conditions)
  .flatMap(([path]) => nameOf(path));

function nameOf(path: string): string | [] {
  return /^\.\/(\w+)$/.exec(path)?.[1] ?? [];
}

/** What each entry point of a page is made of, by the name that programs import, as a bundler's alias. */
export function entrySources(root: string): Record<string, string> {
  // An alias takes whatever begins with it, so the longer names come first.
  const names = [...ENTRIES.filter(name => name !== 'node').map(name => [`/${name}`, name]), ['', 'index']];
  return Object.fromEntries(names.map(([ending = '', name = '']) => [`tfjs-lora${ending}`, `${root}/src/${name}.ts`]));
}
