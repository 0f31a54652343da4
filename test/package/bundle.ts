// Bundles a program that imports the library for its side effects alone, as it is published, with each of four
// bundlers, and runs what comes out. Prints what tfjs has then, as JSON: `bundle.ts`.

import {spawnSync} from 'node:child_process';
import {cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
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

/** What importing the library is for: classes for `tf.loadLayersModel`, and kernels. */
const PROGRAM = `
import 'tfjs-lora';
import * as tf from '${TFJS}';

const classes = Object.keys(tf.serialization.SerializationMap.getMap().classNameMap).sort();
const brand = Symbol.for('tfjs-lora.kernel');
// A backend gets its kernels when it is set.
tf.setBackend('cpu').then(() => {
  const kernels = tf.getKernelsForBackend('cpu').filter(kernel => brand in kernel).map(({kernelName}) => kernelName);
  console.log('REGISTERED ' + JSON.stringify({classes, kernels}));
});
`;

async function byEsbuild(folder: string, program: string): Promise<string> {
  await esbuild.build({
    absWorkingDir: folder,
    entryPoints: [program],
    outfile: `esbuild-${program}`,
    bundle: true,
    minify: true,
    format: 'esm',
    external: [TFJS],
    logLevel: 'error',
  });
  return `esbuild-${program}`;
}

/** Each makes `out.mjs` or `out.cjs` of `program.mjs` in `folder`, and gives its name. */
const BUNDLERS: Record<string, (folder: string) => Promise<string>> = {
  vite: async folder => {
    await vite.build({
      root: folder,
      configFile: false,
      logLevel: 'error',
      build: {
        outDir: 'vite',
        lib: {entry: join(folder, 'program.mjs'), formats: ['es'], fileName: () => 'out.mjs'},
        rollupOptions: {external: [TFJS]},
      },
    });
    return 'vite/out.mjs';
  },
  webpack: folder =>
    new Promise((resolve, reject) => {
      webpack(
        {
          mode: 'production',
          context: folder,
          entry: './program.mjs',
          // Node runs it, which has no scripts to load parts by.
          output: {path: folder, filename: 'webpack.cjs', chunkFormat: 'commonjs', chunkLoading: 'require'},
          externals: {[TFJS]: `commonjs ${TFJS}`},
        },
        (error, stats) => {
          const fault = error ?? (stats?.hasErrors() === true ? new Error(stats.toString()) : null);
          if (fault === null) {
            resolve('webpack.cjs');
          } else {
            reject(fault);
          }
        },
      );
    }),
  esbuild: folder => byEsbuild(folder, 'program.mjs'),
  withKeras: folder => byEsbuild(folder, 'keras.mjs'),
  rollup: async folder => {
    const bundle = await rollup({
      input: join(folder, 'program.mjs'),
      external: [TFJS],
      plugins: [nodeResolve({browser: true})],
    });
    await bundle.write({dir: folder, entryFileNames: 'rollup.mjs', format: 'es'});
    return 'rollup.mjs';
  },
  none: () => Promise.resolve('program.mjs'),
};

function makeProject(): string {
  const folder = mkdtempSync(join(tmpdir(), 'tfjs-lora-bundle-'));
  const library = join(folder, 'node_modules/tfjs-lora');
  mkdirSync(library, {recursive: true});
  cpSync(join(ROOT, 'package.json'), join(library, 'package.json'));
  cpSync(join(ROOT, 'dist'), join(library, 'dist'), {recursive: true});
  symlinkSync(join(ROOT, 'node_modules/@tensorflow'), join(folder, 'node_modules/@tensorflow'));
  writeFileSync(join(folder, 'program.mjs'), PROGRAM);
  const loads = `import {loadKerasModel} from 'tfjs-lora';\nglobalThis.load = loadKerasModel;\n`;
  writeFileSync(join(folder, 'keras.mjs'), loads + PROGRAM);
  return folder;
}

function registeredBy(file: string): unknown {
  const {stdout, stderr} = spawnSync(process.execPath, [file], {encoding: 'utf8'});
  const line = stdout.split('\n').find(text => text.startsWith('REGISTERED '));
  return line === undefined ? {error: stderr} : JSON.parse(line.slice('REGISTERED '.length));
}

const folder = makeProject();
try {
  const results: Record<string, unknown> = {};
  for (const [name, bundle] of Object.entries(BUNDLERS)) {
    results[name] = registeredBy(join(folder, await bundle(folder)));
  }
  console.log(`RESULTS ${JSON.stringify(results)}`);
} finally {
  rmSync(folder, {recursive: true, force: true});
}
