// Prints how many bytes a page loads, and which rooms they come from: `npm run check -- sizes`. Fails where a size is
// more than 2 % above the one in sizes.json. A change that needs more states the new sizes there with `--write`, and
// its commit says what they pay for.
//
// Minified by esbuild, tfjs and optional peers external, compressed with brotli. The totals are of the built library,
// as a page's bundler meets it. What is loaded later, such as the programs of a graphics card, does not count; the
// core's is measured by itself.

import {existsSync, readFileSync, writeFileSync} from 'node:fs';
import {dirname, join, relative} from 'node:path';
import {fileURLToPath} from 'node:url';
import {brotliCompressSync} from 'node:zlib';
import {build, type BuildResult} from 'esbuild';
import {ENTRIES} from './entries';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, '..');
const CORE = 'applyLoRA + mergeLoRA + saveAdapter + loadAdapter';
const FOUR = `export {${CORE.replaceAll(' +', ',')}} from './dist/index.js';`;
const PAGE_ENTRIES = ['index', ...ENTRIES.filter(name => name !== 'node')];
const everythingOf = (...entries: string[]) => entries.map(name => `export * from './dist/${name}.js';`).join('\n');

/** What a page imports, by the name of its size. An entry point includes what it shares with others. */
const IMPORTS: Readonly<Record<string, string>> = {
  [CORE]: FOUR,
  ...Object.fromEntries(
    PAGE_ENTRIES.map(name => [name === 'index' ? 'tfjs-lora' : `tfjs-lora/${name}`, everythingOf(name)]),
  ),
  'all entry points together': everythingOf(...PAGE_ENTRIES),
};

/** How much a size may exceed the one that is stated. */
const SLACK = 1.02;

function bundle(contents: string) {
  return build({
    stdin: {contents, resolveDir: ROOT},
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    splitting: true,
    outdir: ROOT,
    external: ['@tensorflow/*', '@huggingface/*'],
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

/** Bytes with brotli of what is loaded at once, or of the rest. */
function compressed(built: BuildResult<{metafile: true; write: false}>, part: 'at once' | 'later'): number {
  const first = loadedAtOnce(built);
  return built.outputFiles
    .filter(({path}) => first.has(relative(ROOT, path)) === (part === 'at once'))
    .reduce((bytes, {contents}) => bytes + brotliCompressSync(contents).length, 0);
}

/** Minified bytes of each room in what is loaded at once. */
function byRoom(built: BuildResult<{metafile: true}>): Map<string, number> {
  const rooms = new Map<string, number>();
  for (const output of loadedAtOnce(built)) {
    const {inputs = {}} = built.metafile.outputs[output] ?? {};
    for (const [path, {bytesInOutput}] of Object.entries(inputs).filter(([path]) => path !== '<stdin>')) {
      const [wing = '', room = '', ...rest] = relative('src', path).split('/');
      const name = room === '' ? 'entry points' : rest.length === 0 ? `${wing}/` : `${wing}/${room}/`;
      rooms.set(name, (rooms.get(name) ?? 0) + bytesInOutput);
    }
  }
  return rooms;
}

const kilobytes = (bytes: number) => (bytes / 1000).toFixed(1);

if (!existsSync(join(ROOT, 'dist/index.js'))) {
  throw new Error('There is no build to measure. Run `npm run build` first.');
}
const sizes: Record<string, number> = {};
const rooms: Map<string, number>[] = [];
for (const [name, statement] of Object.entries(IMPORTS)) {
  const built = await bundle(statement);
  sizes[name] = compressed(built, 'at once');
  if (name === CORE || name === 'tfjs-lora') {
    rooms.push(byRoom(await bundle(statement.replaceAll(/dist\/(\w+)\.js/g, 'src/$1.ts'))));
  }
  if (name === CORE) {
    sizes[`${name}, loaded later`] = compressed(built, 'later');
  }
}
for (const [name, file] of [
  ['script tag, graphs included', 'tfjs-lora'],
  ['script tag, language models included', 'tfjs-lora-language'],
] as const) {
  sizes[name] = brotliCompressSync(readFileSync(join(ROOT, `dist/${file}.min.js`))).length;
}

const file = join(HERE, 'sizes.json');
if (process.argv.includes('--write')) {
  writeFileSync(file, `${JSON.stringify(sizes, null, 2)}\n`);
}
const stated = JSON.parse(readFileSync(file, 'utf8')) as Record<string, number>;
console.log('| what a page imports | kB with brotli | stated |\n| --- | ---: | ---: |');
for (const [name, size] of Object.entries(sizes)) {
  console.log(`| ${name} | ${kilobytes(size)} | ${kilobytes(stated[name] ?? 0)} |`);
  if (!(size <= SLACK * (stated[name] ?? 0))) {
    console.error(`${name}: ${size} bytes, more than ${SLACK} times the ${stated[name]} that sizes.json states.`);
    process.exitCode = 1;
  }
}

const [four, all] = rooms as [Map<string, number>, Map<string, number>];
console.log('\n| room | of the four functions, kB minified | of tfjs-lora |\n| --- | ---: | ---: |');
for (const [room, bytes] of [...all].sort(([, one], [, two]) => two - one)) {
  console.log(`| ${room} | ${kilobytes(four.get(room) ?? 0)} | ${kilobytes(bytes)} |`);
}
