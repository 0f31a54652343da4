import {join} from 'node:path';
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
  return aliases(name => join(root, 'src', `${name}.ts`));
}

/** The built files of the entry points, as a project that has installed the library gets them. */
export function builtEntries(root: string): Record<string, string> {
  return aliases(name => join(root, 'dist', `${name}.js`));
}

function aliases(fileOf: (name: string) => string): Record<string, string> {
  // An alias takes whatever begins with it, so the longer names come first.
  const names = [...ENTRIES.filter(name => name !== 'node').map(name => [`/${name}`, name]), ['', 'index']];
  return Object.fromEntries(names.map(([ending = '', name = '']) => [`tfjs-lora${ending}`, fileOf(name)]));
}

/** The name by which programs import an entry point. That of Node is the main one with a few names more. */
export function importName(entry: string): string {
  return entry === 'node' ? 'tfjs-lora' : `tfjs-lora/${entry}`;
}

/** A page of typedoc with the names that programs import in place of those of files, in lists the main one first. */
export function withImportNames(page: string): string {
  const titled = page.replace(/^# (\w+)$/m, (title, name: string) =>
    ENTRIES.includes(name) ? `# ${importName(name)}` : title,
  );
  return titled.replace(/(?:^- \[\w+\]\(\w+\/index\.md\)\n?)+/m, list => {
    const names = [...list.matchAll(/\[(\w+)\]/g)].map(([, name = '']) => name);
    return names
      .sort((one, other) => Number(other === 'node') - Number(one === 'node'))
      .map(name => `- [${importName(name)}](${name}/index.md)\n`)
      .join('');
  });
}
