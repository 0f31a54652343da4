// What llama.cpp computes of a GGUF file, with adapters beside it or not, for `checkLlamaCpp.ts` and `checkHeaders.ts`,
// which say what a job is:
//
//     tsx llamaCpp.ts FOLDER JOB.json
//
// FOLDER has `node-llama-cpp`. It is a process of its own since llama.cpp may end it. Of a list of jobs, one that it
// refuses gets empty files, and the file `reached` in FOLDER says which one it came to.

import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {startLlama} from './nodeLlamaCpp';

/** What is to be computed. */
export interface Job {
  base: string;
  ids: number[];
  /**
   * By the file that is written, the adapter. Written are the logits at each position, as 32-bit floats.
   */
  results: Record<string, string | null>;
  /** Texts whose tokens are wanted. */
  texts?: readonly string[];
  /** Of models by their files, the file that is written. */
  tokens?: Record<string, string>;
}

/** The tokens of each text, without those that begin or end texts, and those that end what is written. */
export interface Tokens {
  ids: number[][];
  ends: number[];
}

const [folder = '', list = ''] = process.argv.slice(2);
const jobs = [JSON.parse(readFileSync(list, 'utf8')) as Job | Job[]].flat();
const llama = await startLlama(folder);
const exact = {experimentalKvCacheKeyType: 'F32', experimentalKvCacheValueType: 'F32', flashAttention: false};
for (const [i, {base, ids, results}] of jobs.entries()) {
  writeFileSync(join(folder, 'reached'), String(i));
  for (const [file, adapter] of Object.entries(results)) {
    writeFileSync(file, '');
    const lora = adapter === null ? {} : {lora: adapter};
    try {
      const model = await llama.loadModel({modelPath: base});
      const context = await model.createContext({contextSize: 128, threads: 1, ...exact, ...lora});
      const given = ids.map((id): [number, object] => [id, {generateNext: {logits: true}}]);
      const positions = await context.getSequence().controlledEvaluate(given);
      const numbers = positions.map(({next: {logits}}) =>
        Float32Array.from({length: logits.size}, (_, id) => logits.get(id) ?? NaN),
      );
      writeFileSync(file, Buffer.concat(numbers.map(({buffer}) => Buffer.from(buffer))));
      await context.dispose();
      await model.dispose();
    } catch (error) {
      if (jobs.length === 1) {
        throw error;
      }
    }
  }
}
for (const {texts = [], tokens = {}} of jobs) {
  for (const [modelPath, file] of Object.entries(tokens)) {
    const model = await llama.loadModel({modelPath, vocabOnly: true});
    const told: Tokens = {
      ids: texts.map(text => [...model.tokenize(text, true)]),
      ends: Array.from({length: 100_000}, (_, id) => id).filter(id => model.isEogToken(id)),
    };
    writeFileSync(file, JSON.stringify(told));
    await model.dispose();
  }
}
await llama.dispose();
