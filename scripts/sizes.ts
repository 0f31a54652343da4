// Prints how many bytes a page loads, and which rooms they come from: `npm run check -- sizes`. Fails where a limit is
// exceeded. A change that needs more raises the limit in sizes.json, and says by how much.
//
// Minified by esbuild, tfjs external, compressed with brotli. The totals are of the built library, as a page's bundler
// meets it. Programs of graphics cards are loaded where one is set.

import {existsSync, readFileSync} from 'node:fs';
import {dirname, join, relative} from 'node:path';
import {fileURLToPath} from 'node:url';
import {brotliCompressSync} from 'node:zlib';
import {build, type BuildResult} from 'esbuild';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, '..');
const FOUR = 'applyLoRA, mergeLoRA, saveAdapter, loadAdapter';

/** What a page imports, by the name of its limit. */
const IMPORTS = {
  [FOUR.replaceAll(', ', ' + ')]: `export {${FOUR}} from`,
  everything: 'export * from',
};

function bundle(statement: string, from: string) {
  return build({
    stdin: {contents: `${statement} '${from}';`, resolveDir: ROOT},
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    splitting: true,
    outdir: ROOT,
    external: ['@tensorflow/*'],
    write: false,
    metafile: true,
    logLevel: 'error',
    absWorkingDir: ROOT,
  });
}

/** The files that a bundle is loaded with; the others are loaded when they are needed. */
function loadedAtOnce({metafile: {outputs}}: BuildResult<{metafile: true}>): Set<string> {
  const found = new Set<string>();
  const visit = (path: string): void => {
    if (!found.has(path)) {
      found.add(path);
      const {imports = []} = outputs[path] ?? {};
      imports.filter(({kind, external}) => kind === 'import-statement' && !external).forEach(one => visit(one.path));
    }
  };
  Object.keys(outputs)
    .filter(path => outputs[path]?.entryPoint === '<stdin>')
    .forEach(visit);
  return found;
}

/** Bytes with brotli of what is loaded at once, and of the rest. */
function compressed(built: BuildResult<{metafile: true; write: false}>): {atOnce: number; later: number} {
  const first = loadedAtOnce(built);
  const sum = (files: typeof built.outputFiles) =>
    files.reduce((bytes, {contents}) => bytes + brotliCompressSync(contents).length, 0);
  const isFirst = ({path}: {path: string}) => first.has(relative(ROOT, path));
  return {
    atOnce: sum(built.outputFiles.filter(isFirst)),
    later: sum(built.outputFiles.filter(file => !isFirst(file))),
  };
}

/** Minified bytes of each room in what is loaded at once; what lies beside the rooms is one of its own. */
function byRoom(built: BuildResult<{metafile: true}>): Map<string, number> {
  const rooms = new Map<string, number>();
  for (const output of loadedAtOnce(built)) {
    const {inputs = {}} = built.metafile.outputs[output] ?? {};
    for (const [path, {bytesInOutput}] of Object.entries(inputs).filter(([path]) => path !== '<stdin>')) {
      const [room = '', ...rest] = relative('src', path).split('/');
      const name = rest.length === 0 ? 'doors, errors' : `${room}/`;
      rooms.set(name, (rooms.get(name) ?? 0) + bytesInOutput);
    }
  }
  return rooms;
}

const kilobytes = (bytes: number) => (bytes / 1000).toFixed(1);

if (!existsSync(join(ROOT, 'dist/index.js'))) {
  throw new Error('There is no build to measure. Run `npm run build` first.');
}
const limits = JSON.parse(readFileSync(join(HERE, 'sizes.json'), 'utf8')) as Record<string, number>;
/** Prints a size, and remembers that it is too large. */
function hold(name: string, size: number): void {
  const limit = limits[name];
  if (limit === undefined) {
    throw new Error(`sizes.json has no limit for "${name}".`);
  }
  console.log(`${name}: ${size} bytes with brotli, at most ${limit}`);
  if (size > limit) {
    console.error(`${name} exceeds its limit by ${size - limit} bytes.`);
    process.exitCode = 1;
  }
}

const rooms: Map<string, number>[] = [];
for (const [name, statement] of Object.entries(IMPORTS)) {
  const {atOnce, later} = compressed(await bundle(statement, './dist/index.js'));
  hold(name, atOnce);
  hold(`${name}, more on a graphics card`, later);
  rooms.push(byRoom(await bundle(statement, './src/index.ts')));
}
hold('script tag, graphs included', brotliCompressSync(readFileSync(join(ROOT, 'dist/tfjs-lora.min.js'))).length);
const [four, all] = rooms as [Map<string, number>, Map<string, number>];
console.log('\n| room | of the four functions, kB minified | of everything |\n| --- | ---: | ---: |');
for (const [room, bytes] of [...all].sort(([, one], [, two]) => two - one)) {
  console.log(`| ${room} | ${kilobytes(four.get(room) ?? 0)} | ${kilobytes(bytes)} |`);
}
