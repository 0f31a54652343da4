// What llama.cpp takes on one thread for a prompt and for each token after it, for `bench/language.ts`:
//
//     tsx llamaCpp.ts FOLDER MODEL.gguf PROMPT WRITTEN ROUNDS
//
// PROMPT and WRITTEN are numbers of tokens. FOLDER has `node-llama-cpp`. Prints the medians of the rounds in
// milliseconds, as JSON.

import {startLlama} from '../../test/extensions/language/nodeLlamaCpp';
import {summarize} from '../measure';

const [folder = '', modelPath = '', prompt = '', written = '', rounds = ''] = process.argv.slice(2);
const llama = await startLlama(folder);
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
console.log(JSON.stringify({prompt: summarize(times.prompt)!.median, token: summarize(times.token)!.median}));
