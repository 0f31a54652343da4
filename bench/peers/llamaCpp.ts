// What llama.cpp takes on one thread for a prompt and for each token after it, for `bench/language.ts`:
//
//     tsx llamaCpp.ts FOLDER MODEL.gguf PROMPT WRITTEN ROUNDS
//
// PROMPT and WRITTEN are numbers of tokens. FOLDER has `node-llama-cpp`. Prints the medians of the rounds in
// milliseconds, as JSON.

import {join} from 'node:path';
import {pathToFileURL} from 'node:url';
import {medianOf} from '../measure';

/** What is used of node-llama-cpp. */
interface LlamaCpp {
  getLlama(options: object): Promise<{
    loadModel(options: {modelPath: string}): Promise<{
      createContext(options: object): Promise<{
        getSequence(): {
          evaluate(ids: readonly number[], options: object): AsyncGenerator<number>;
          clearHistory(): Promise<void>;
        };
      }>;
    }>;
    dispose(): Promise<void>;
  }>;
}

const [folder = '', modelPath = '', prompt = '', written = '', rounds = ''] = process.argv.slice(2);
const module = pathToFileURL(join(folder, 'node_modules/node-llama-cpp/dist/index.js')).href;
const llamaCpp = (await import(module)) as LlamaCpp;
const llama = await llamaCpp.getLlama({
  gpu: false,
  build: 'never',
  skipDownload: true,
  progressLogs: false,
  logLevel: 'warn',
});
const model = await llama.loadModel({modelPath});
const context = await model.createContext({contextSize: 512, threads: 1});
const sequence = context.getSequence();
const ids = Array.from({length: Number(prompt)}, (_, i) => 1000 + ((i * 7919) % 19_000));
const times = {prompt: [] as number[], token: [] as number[]};
for (let round = -1; round < Number(rounds); round++) {
  await sequence.clearHistory();
  const tokens = sequence.evaluate(ids, {temperature: 0, yieldEogToken: true});
  const begin = performance.now();
  await tokens.next();
  const first = performance.now();
  for (let i = 0; i < Number(written); i++) {
    await tokens.next();
  }
  if (round >= 0) {
    times.prompt.push(first - begin);
    times.token.push((performance.now() - first) / Number(written));
  }
  await tokens.return(undefined);
}
await llama.dispose();
console.log(JSON.stringify({prompt: medianOf(times.prompt), token: medianOf(times.token)}));
