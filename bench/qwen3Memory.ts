// How much memory training a language model in 4 bits takes on wasm: SmolLM2-135M, or a model of Qwen3's shape from a
// GGUF file of random blocks, Q4_0 with a vocabulary in Q6_K as llama.cpp writes it. Each kind of step runs in a process
// of its own, since the heap of wasm never shrinks, and as a bundle, since compiling the sources takes memory too.
//
//     npm run bench -- qwen3-memory [smollm2] [0.6] [1.7] [4]    billions of parameters; without an argument 0.6
//
// The adapters of SmolLM2 and of the shape of 0.6 billion have the same bits after three steps, streamed or in memory.

import {execFileSync} from 'node:child_process';
import {mkdirSync, mkdtempSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {build} from 'esbuild';
import {smollm2} from '../scripts/pretrained';
import {SHAPES, writeRandomQwen3} from './qwen3File';
import type {Run} from './qwen3Step';

type Size = keyof typeof SHAPES | 'smollm2';
const STREAMED = {kind: 'tokens', gradientCheckpointing: true, isStreamed: true} as const;
const RUNS: Readonly<Record<Size, readonly Run[]>> = {
  smollm2: [
    {...STREAMED, positions: 512},
    {kind: 'tokens', positions: 512, gradientCheckpointing: true},
  ],
  '0.6': [
    {...STREAMED, positions: 512},
    {kind: 'tokens', positions: 512, gradientCheckpointing: true},
    {kind: 'tokens', positions: 512, gradientCheckpointing: false},
    {kind: 'preferences', positions: 256, gradientCheckpointing: true},
    {kind: 'times', positions: 512, gradientCheckpointing: true},
  ],
  '1.7': [{...STREAMED, positions: 512, steps: 1}],
  '4': [{...STREAMED, positions: 256, steps: 1}],
};
const COLUMNS = ['a step', 'gradientCheckpointing', 'base, MB', 'peak of buffers, MB', 'heap of wasm, MB'];
const HERE = fileURLToPath(new URL('.', import.meta.url));

const sizes = process.argv.length > 2 ? process.argv.slice(2) : ['0.6'];
const unknown = sizes.filter(size => !(size in RUNS));
if (unknown.length > 0) {
  throw new Error(`The sizes are ${Object.keys(RUNS).join(', ')}, not ${unknown.join(', ')}.`);
}
const cache = join(HERE, '../node_modules/.cache');
mkdirSync(cache, {recursive: true});
const folder = mkdtempSync(join(cache, 'qwen3-'));
try {
  const program = join(folder, 'step.mjs');
  const entryPoints = [join(HERE, 'qwen3Step.ts')];
  await build({entryPoints, outfile: program, bundle: true, platform: 'node', packages: 'external', format: 'esm'});
  for (const size of sizes as Size[]) {
    const path = size === 'smollm2' ? smollm2() : join(folder, 'model.gguf');
    if (size !== 'smollm2') {
      writeRandomQwen3(path, size);
    }
    console.log(
      `\n${size === 'smollm2' ? 'SmolLM2-135M' : `Qwen3-${size}B`}\n\n| ${[...COLUMNS, 'process, MB', 'adapter'].join(' | ')} |`,
    );
    console.log('| --- | --- | ---: | ---: | ---: | ---: | --- |');
    const adapters = RUNS[size].map(run => {
      const row = execFileSync(process.execPath, [program, path, JSON.stringify(run)], {
        encoding: 'utf8',
        stdio: ['inherit', 'pipe', 'inherit'],
      });
      process.stdout.write(row);
      return row.trimEnd().slice(-10);
    });
    if (RUNS[size].length > 1 && adapters[0] !== adapters[1]) {
      throw new Error('Steps with streamed weights change the adapter by other bits.');
    }
  }
} finally {
  rmSync(folder, {recursive: true});
}
