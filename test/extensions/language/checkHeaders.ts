// Compares GGUF files with random settings with llama.cpp, from the binaries of node-llama-cpp, which it installs in a
// temporary folder. With `--write` it stores what llama.cpp computes, for the tests. A file that shows a fault is told
// by its seed; with `--seed` and `--count 1` it is tried again.
//
//     npm run check -- language
//     tsx test/extensions/language/checkHeaders.ts [--seed N] [--count N] [--write FILE]

import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {LoRAError} from 'tfjs-lora';
import {ASKED, computedHeader, headerFault, headerOf} from './ggufHeaders';
import type {Job} from './llamaCpp';
import {tryRun, withLlamaCpp} from './nodeLlamaCpp';

const {values} = parseArgs({
  options: {seed: {type: 'string'}, count: {type: 'string', default: '600'}, write: {type: 'string'}},
});
const first = Number(values.seed ?? Math.floor(Math.random() * 1e6));
const seeds = Array.from({length: Number(values.count)}, (_, i) => first + i);
const program = join(dirname(fileURLToPath(import.meta.url)), 'llamaCpp.ts');

await tf.setBackend('cpu');
await withLlamaCpp(async folder => {
  mkdirSync(join(folder, 'out'));
  const theirs: Record<number, number[] | null> = {};
  for (let left = seeds; left.length > 0;) {
    const jobs = left.map((seed): Job => {
      const base = join(folder, `${seed}.gguf`);
      writeFileSync(base, headerOf(seed).file);
      return {base, ids: ASKED.ids, results: {[join(folder, 'out', String(seed))]: null}};
    });
    const list = join(folder, 'jobs.json');
    writeFileSync(list, JSON.stringify(jobs));
    const done = tryRun('npx', 'tsx', program, folder, list);
    // A model that ends llama.cpp ends the program: the others follow in the next one.
    const reached = done ? left.length : Number(readFileSync(join(folder, 'reached'), 'utf8')) + 1;
    for (const seed of left.slice(0, reached)) {
      theirs[seed] = numbersOf(join(folder, 'out', String(seed)));
    }
    left = left.slice(reached);
  }
  if (values.write !== undefined) {
    const rounded = Object.entries(theirs).map(([seed, given]) => [
      seed,
      given?.map(each => Number(each.toPrecision(6))) ?? null,
    ]);
    writeFileSync(values.write, `${JSON.stringify(Object.fromEntries(rounded))}\n`);
  }
  const counts = {loaded: 0, refused: 0, faults: 0};
  for (const seed of seeds) {
    const {family, file, settings} = headerOf(seed);
    const result = await computedHeader(file);
    const fault = headerFault(result, theirs[seed] ?? null);
    counts[fault ? 'faults' : result instanceof LoRAError ? 'refused' : 'loaded']++;
    if (fault !== undefined) {
      console.log(`seed ${seed}, ${family}: ${fault}: ${JSON.stringify(settings)}`);
    }
  }
  const {loaded, refused, faults} = counts;
  console.log(`seeds from ${first}: ${loaded} as llama.cpp, ${refused} refused, ${faults} faults`);
  process.exitCode = faults > 0 ? 1 : 0;
});

/** What llama.cpp wrote; `null` where it refused the file. */
function numbersOf(file: string): number[] | null {
  const bytes = new Uint8Array(readFileSync(file));
  return bytes.length === 0 ? null : ASKED.shown(new Float32Array(bytes.buffer));
}
