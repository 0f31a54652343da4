// Prints how many bytes a page loads, and which rooms they come from: `npm run check -- sizes`. Fails where a size is
// more than 2 % above the one in sizes.json. A change that needs more states the new sizes there with `--write`, and
// its commit says what they pay for.
//
// Minified by esbuild, tfjs and optional peers external, compressed with brotli. The totals are of the built library,
// as a page's bundler meets it. What is loaded later, such as the kernels of a backend, does not count; the core's
// kernels are measured by themselves.

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

/** Names that a page imports alone, with their entry points. */
const SINGLE = {LoRAError: 'index', encodeImages: 'images', Recorder: 'sound', wordErrorRate: 'sound'};

/**
 * What a page imports, by the name of its size. An entry point includes what it shares with others. One name alone tells
 * what its entry point registers.
 */
const IMPORTS: Readonly<Record<string, string>> = {
  [CORE]: FOUR,
  ...Object.fromEntries(
    PAGE_ENTRIES.map(name => [name === 'index' ? 'tfjs-lora' : `tfjs-lora/${name}`, everythingOf(name)]),
  ),
  'all entry points together': everythingOf(...PAGE_ENTRIES),
  ...Object.fromEntries(
    Object.entries(SINGLE).map(([name, entry]) => [name, `export {${name}} from './dist/${entry}.js';`]),
  ),
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

/** The files that are loaded with some entry points, such as those of a page; others are loaded when they are needed. */
function loadedFrom(
  {metafile: {outputs}}: BuildResult<{metafile: true}>,
  isEntry: (entryPoint: string) => boolean,
): Set<string> {
  const found = new Set<string>();
  const visit = (path: string): void => {
    if (!found.has(path)) {
      found.add(path);
      const {imports = []} = outputs[path] ?? {};
      imports.filter(({kind, external}) => kind === 'import-statement' && !external).forEach(one => visit(one.path));
    }
  };
  Object.keys(outputs)
    .filter(path => isEntry(outputs[path]?.entryPoint ?? ''))
    .forEach(visit);
  return found;
}

/** Bytes with brotli of some files. */
function compressed({outputFiles}: BuildResult<{write: false}>, paths: ReadonlySet<string>): number {
  return outputFiles
    .filter(({path}) => paths.has(relative(ROOT, path)))
    .reduce((bytes, {contents}) => bytes + brotliCompressSync(contents).length, 0);
}

/** By backend that has code in \`src/backends\`: what is loaded when the backend is set, beside what is there already. */
function loadedWithBackends(built: BuildResult<{metafile: true}>): Map<string, Set<string>> {
  const {outputs} = built.metafile;
  const atOnce = loadedFrom(built, isStart);
  const later = Object.entries(outputs).flatMap(([path, {entryPoint}]) => {
    const [, backend] = /\b(wasm|webgl|webgpu)Part-/.exec(entryPoint ?? '') ?? [];
    return backend === undefined
      ? []
      : [[backend, loadedFrom(built, name => name === outputs[path]?.entryPoint)] as const];
  });
  return new Map(later.map(([backend, paths]) => [backend, new Set([...paths].filter(path => !atOnce.has(path)))]));
}

const isStart = (entryPoint: string) => entryPoint === '<stdin>';

/** Minified bytes of each room in what is loaded at once. */
function byRoom(built: BuildResult<{metafile: true}>): Map<string, number> {
  const rooms = new Map<string, number>();
  for (const output of loadedFrom(built, isStart)) {
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
  const atOnce = loadedFrom(built, isStart);
  sizes[name] = compressed(built, atOnce);
  const later = Object.keys(built.metafile.outputs).filter(path => !atOnce.has(path));
  if (later.length > 0 && !(name in SINGLE)) {
    sizes[`loaded later by ${name}`] = compressed(built, new Set(later));
  }
  if (name === CORE || name === 'tfjs-lora') {
    rooms.push(byRoom(await bundle(statement.replaceAll(/dist\/(\w+)\.js/g, 'src/$1.ts'))));
  }
  if (name === CORE) {
    for (const [backend, paths] of loadedWithBackends(built)) {
      sizes[`loaded later on ${backend}`] = compressed(built, paths);
    }
  }
}
for (const [name, file] of [
  ['script tag, graphs included', 'tfjs-lora'],
  ['script tag for language models, after the other', 'tfjs-lora-language'],
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
