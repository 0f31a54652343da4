// Bundles programs with the library as it is published, runs what comes out, and prints what the programs print, as
// JSON: `bundle.ts`. One imports the library for its side effects alone, and one loads the network for spoken words,
// with each of four bundlers. Another loads models of the hub, where the optional peers are installed and where they are
// not.

import {spawnSync} from 'node:child_process';
import {cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, unlinkSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import nodeResolve from '@rollup/plugin-node-resolve';
import * as esbuild from 'esbuild';
import {rollup} from 'rollup';
import * as vite from 'vite';
import webpack from 'webpack';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const TFJS = '@tensorflow/tfjs';
const WASM = '@tensorflow/tfjs-backend-wasm';
/** What Node has, which runs the bundles. */
const EXTERNAL = [TFJS, WASM, 'node:fs'];

/** What importing the library is for: classes for `tf.loadLayersModel`, and kernels, which wasm gets when it is set. */
const PROGRAM = `
import 'tfjs-lora';
import * as tf from '${TFJS}';
import '${WASM}';

const brand = Symbol.for('tfjs-lora.kernel');

/** Sets a backend, and returns what the library has for it, and the gradient of a kernel, with each sum of four ones. */
async function registeredOn(backend) {
  await tf.setBackend(backend);
  const kernels = tf.getKernelsForBackend(backend).filter(kernel => brand in kernel);
  const convolve = kernel => tf.conv2d(tf.ones([1, 3, 3, 1]), kernel, 1, 'valid');
  const gradient = tf.grad(convolve)(tf.ones([2, 2, 1, 1]));
  return {
    kernels: kernels.filter(({purpose}) => purpose !== 'awaited').map(({kernelName}) => kernelName).sort(),
    gradient: [...gradient.dataSync()],
  };
}

async function main() {
  const classes = Object.keys(tf.serialization.SerializationMap.getMap().classNameMap).sort();
  const cpu = await registeredOn('cpu');
  const wasm = await registeredOn('wasm');
  const factory = tf.findBackendFactory('wasm');
  tf.removeBackend('wasm');
  tf.registerBackend('wasm', factory);
  console.log('PRINTED ' + JSON.stringify({classes, cpu, wasm, wasmAgain: await registeredOn('wasm')}));
}

main();
`;

/** Loads models with their tokenizers, and answers a chat: peers that are not installed give messages. */
const LOADER = `
import {readFileSync} from 'node:fs';
import * as tf from '${TFJS}';
import {generateTexts, loadGGUF} from 'tfjs-lora/language';
import {loadTransformer} from 'tfjs-lora/transformers';

const fixture = name => new Uint8Array(readFileSync(${JSON.stringify(join(ROOT, 'test/fixtures'))} + '/' + name));
const tokenizerJson = {
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: {type: 'WhitespaceSplit'},
  post_processor: null,
  decoder: null,
  model: {type: 'WordLevel', vocab: {'?': 0, good: 1, day: 2}, unk_token: '?'},
};
const triedOut = f => f().catch(({code, message}) => code + ': ' + message);

await tf.setBackend('cpu');
const ids = await triedOut(async () => {
  const config = JSON.parse(new TextDecoder().decode(fixture('transformers/bert/config.json')));
  const weights = fixture('transformers/bert/model.safetensors');
  const {tokenizer} = await loadTransformer({config, weights, tokenizerJson, tokenizerConfig: {unk_token: '?'}});
  return tokenizer.encode('good day').ids;
});
const answer = await triedOut(async () => {
  const {model, tokenizer} = await loadGGUF(fixture('gguf/llama.gguf'));
  const answers = await generateTexts(model, tokenizer, [[{role: 'user', content: 'the fox'}]], {maxTokens: 1});
  return answers.length;
});
console.log('PRINTED ' + JSON.stringify({ids, answer}));
`;

/** Computes the embedding of a second of a sweep. */
const words = (imports: string) => `
${imports}

async function main() {
  await tf.setBackend('cpu');
  const {model, encode} = await loadWordBase();
  const samples = Float32Array.from({length: 16_000}, (_, i) => Math.sin(i * i * 1e-5));
  const embedding = model.predict(encode({samples, sampleRate: 16_000}));
  console.log('PRINTED ' + JSON.stringify([...embedding.dataSync()]));
}

main();
`;
const WORDS = words(`import * as tf from '${TFJS}';\nimport {loadWordBase} from 'tfjs-lora/words';`);
const REQUIRED_WORDS = words(`const tf = require('${TFJS}');\nconst {loadWordBase} = require('tfjs-lora/words');`);

type Bundle = (folder: string, program: string) => Promise<string>;

async function byVite(folder: string, program: string): Promise<string> {
  await vite.build({
    root: folder,
    configFile: false,
    logLevel: 'error',
    build: {
      outDir: `vite-${program}`,
      lib: {entry: join(folder, program), formats: ['es'], fileName: () => 'out.mjs'},
      rollupOptions: {external: EXTERNAL},
    },
  });
  return `vite-${program}/out.mjs`;
}

async function byEsbuild(folder: string, program: string): Promise<string> {
  await esbuild.build({
    absWorkingDir: folder,
    entryPoints: [program],
    outfile: `esbuild-${program}`,
    bundle: true,
    minify: true,
    format: 'esm',
    external: EXTERNAL,
    logLevel: 'error',
  });
  return `esbuild-${program}`;
}

function byWebpack(folder: string, program: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const path = join(folder, `webpack-${program}`);
    webpack(
      {
        mode: 'production',
        context: folder,
        entry: `./${program}`,
        // Node runs it, which has no scripts to load parts by.
        output: {path, filename: 'out.cjs', chunkFormat: 'commonjs', chunkLoading: 'require'},
        externals: {[TFJS]: `commonjs ${TFJS}`, [WASM]: `commonjs ${WASM}`},
      },
      (error, stats) => {
        const fault = error ?? (stats?.hasErrors() === true ? new Error(stats.toString()) : null);
        if (fault === null) {
          resolve(`webpack-${program}/out.cjs`);
        } else {
          reject(fault);
        }
      },
    );
  });
}

async function byRollup(folder: string, program: string): Promise<string> {
  const bundle = await rollup({
    input: join(folder, program),
    external: [TFJS, WASM],
    plugins: [nodeResolve({browser: true})],
  });
  await bundle.write({dir: join(folder, `rollup-${program}`), entryFileNames: 'out.mjs', format: 'es'});
  return `rollup-${program}/out.mjs`;
}

/** Each bundles a program of `folder`, and gives the name of the result. */
const BUNDLERS: Record<string, Bundle> = {
  vite: byVite,
  webpack: byWebpack,
  esbuild: byEsbuild,
  rollup: byRollup,
  none: (_folder, program) => Promise.resolve(program),
};

function makeProject(): string {
  const folder = mkdtempSync(join(tmpdir(), 'tfjs-lora-bundle-'));
  const library = join(folder, 'node_modules/tfjs-lora');
  mkdirSync(library, {recursive: true});
  cpSync(join(ROOT, 'package.json'), join(library, 'package.json'));
  cpSync(join(ROOT, 'dist'), join(library, 'dist'), {recursive: true});
  cpSync(library, `${library}-copy`, {recursive: true});
  symlinkSync(join(ROOT, 'node_modules/@tensorflow'), join(folder, 'node_modules/@tensorflow'));
  mkdirSync(join(folder, 'node_modules/@huggingface'));
  writeFileSync(join(folder, 'program.mjs'), PROGRAM);
  writeFileSync(join(folder, 'loader.mjs'), LOADER);
  writeFileSync(join(folder, 'words.mjs'), WORDS);
  writeFileSync(join(folder, 'words.cjs'), REQUIRED_WORDS);
  const loads = `import {loadKerasModel} from 'tfjs-lora';\nglobalThis.load = loadKerasModel;\n`;
  writeFileSync(join(folder, 'keras.mjs'), loads + PROGRAM);
  writeFileSync(join(folder, 'copies.mjs'), `import 'tfjs-lora-copy';\n${PROGRAM}`);
  return folder;
}

function printedBy(file: string): unknown {
  const {stdout, stderr} = spawnSync(process.execPath, [file], {encoding: 'utf8'});
  const line = stdout.split('\n').find(text => text.startsWith('PRINTED '));
  return line === undefined ? {error: stderr} : JSON.parse(line.slice('PRINTED '.length));
}

/** What the loader prints that was bundled where these peers are installed, but runs where none is. */
async function printedWith(peers: readonly string[], folder: string, bundle: Bundle): Promise<unknown> {
  const places = peers.map(peer => [join(ROOT, 'node_modules', peer), join(folder, 'node_modules', peer)] as const);
  places.forEach(([from, to]) => symlinkSync(from, to));
  const file = await bundle(folder, 'loader.mjs');
  places.forEach(([, to]) => unlinkSync(to));
  return printedBy(join(folder, file));
}

const TOKENIZERS = '@huggingface/tokenizers';
const JINJA = '@huggingface/jinja';

const folder = makeProject();
try {
  const printedFor = async (program: string, bundle: Bundle) => printedBy(join(folder, await bundle(folder, program)));
  const results: Record<string, unknown> = {};
  const wordResults: Record<string, unknown> = {required: printedBy(join(folder, 'words.cjs'))};
  for (const [name, bundle] of Object.entries(BUNDLERS)) {
    results[name] = await printedFor('program.mjs', bundle);
    wordResults[name] = await printedFor('words.mjs', bundle);
  }
  wordResults['required, bundled by webpack'] = await printedFor('words.cjs', byWebpack);
  results.withKeras = await printedFor('keras.mjs', byEsbuild);
  results.twoCopies = await printedFor('copies.mjs', byEsbuild);
  const loaders: Record<string, unknown[]> = {};
  for (const [name, bundle] of Object.entries({vite: byVite, esbuild: byEsbuild})) {
    loaders[name] = [];
    for (const peers of [[], [TOKENIZERS], [TOKENIZERS, JINJA]]) {
      loaders[name].push(await printedWith(peers, folder, bundle));
    }
  }
  console.log(`RESULTS ${JSON.stringify({registered: results, loaders, words: wordResults})}`);
} finally {
  rmSync(folder, {recursive: true, force: true});
}
