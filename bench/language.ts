// What SmolLM2-135M takes of wasm on one core, its base in 4 bits beside float32: a LoRA step (rank 8 on queries and
// values), a prompt, and a token.
//
//     npm run bench -- language [--clock cpu|wall] [--rounds 5] [--llama-cpp]
//
// With `--llama-cpp` it also says what llama.cpp takes on one thread, from binaries that npm brings.

import {openAsBlob} from 'node:fs';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {adam, applyLoRA, compileModel} from 'tfjs-lora';
import {generate, loadGGUF} from 'tfjs-lora/language';
import {smollm2} from '../scripts/pretrained';
import {run, withLlamaCpp} from '../test/extensions/language/nodeLlamaCpp';
import {processor} from './machine';
import {type Clock, now, summarize} from './measure';
import {printTable} from './table';

const {values} = parseArgs({
  options: {
    clock: {type: 'string', default: 'wall'},
    rounds: {type: 'string', default: '5'},
    'llama-cpp': {type: 'boolean', default: false},
  },
});
const clock: Clock = values.clock === 'cpu' ? 'cpu' : 'wall';

/** Examples and tokens of a step, tokens of a prompt, and tokens that are written. */
const [BATCH, POSITIONS, PROMPT, WRITTEN] = [4, 128, 256, 33];

await tf.setBackend('wasm');
tf.enableProdMode();

/** What is measured of a base, by name; each gives milliseconds. */
async function runsOf(quantized: boolean): Promise<Record<string, () => Promise<number>>> {
  const {model, tokenizer} = await loadGGUF(await openAsBlob(smollm2()), {quantized});
  const adapted = applyLoRA(model, {rank: 8, targets: [/[qv]_proj$/], seed: 1});
  compileModel(adapted, {optimizer: adam({learningRate: 1e-4})});
  const ids = (count: number, positions: number) => tf.randomUniform([count, positions], 1000, 20_000, 'int32', 1);
  const [xs, prompt] = [ids(BATCH, POSITIONS), ids(1, PROMPT)];
  const text = tokenizer.decode([...prompt.dataSync()]);
  const timed = async (run: () => Promise<unknown>) => {
    const begin = now(clock);
    await run();
    return now(clock) - begin;
  };
  return {
    step: () => timed(() => adapted.trainOnBatch([xs, tf.onesLike(xs)], xs)),
    predict: () =>
      timed(async () => {
        const scores = model.predict([prompt, tf.onesLike(prompt)]) as tf.Tensor;
        await scores.data();
        scores.dispose();
      }),
    prompt: () =>
      timed(async () => {
        await generate(model, tokenizer, text, {maxTokens: 1}).next();
      }),
    token: async () => {
      const pieces = generate(model, tokenizer, 'Once upon a time', {maxTokens: WRITTEN});
      await pieces.next();
      const begin = now(clock);
      let count = 0;
      while ((await pieces.next()).done !== true) {
        count++;
      }
      return (now(clock) - begin) / count;
    },
  };
}

const bases = {'4 bits': await runsOf(true), float32: await runsOf(false)};
const samples = new Map<string, number[]>();
for (let round = -1; round < Number(values.rounds); round++) {
  for (const [base, runs] of Object.entries(bases)) {
    for (const [name, each] of Object.entries(runs)) {
      const time = await each();
      if (round >= 0) {
        samples.set(`${base} ${name}`, [...(samples.get(`${base} ${name}`) ?? []), time]);
      }
    }
  }
}

const median = (name: string) => summarize(samples.get(name)!)!.median;
const rows = {
  step: `a LoRA step, ${BATCH} × ${POSITIONS} tokens`,
  predict: `predict, ${PROMPT} tokens`,
  prompt: `a prompt of ${PROMPT} tokens, and the first token`,
  token: 'a token',
};
console.log(
  `\nSmolLM2-135M on wasm, milliseconds of the ${clock} clock, medians of ${values.rounds} rounds, ${processor()}\n`,
);
printTable(
  ['', '4 bits', 'float32', '÷'],
  Object.entries(rows).map(([name, title]) => {
    const [blocks, floats] = [median(`4 bits ${name}`), median(`float32 ${name}`)];
    return [title, blocks.toFixed(0), floats.toFixed(0), (blocks / floats).toFixed(2)];
  }),
);
const ratio = median('4 bits prompt') / median('float32 predict');
console.log(
  `\n${(1000 / median('4 bits token')).toFixed(1)} tokens a second from 4 bits, ` +
    `${(1000 / median('float32 token')).toFixed(1)} from float32; a prompt on 4 bits ÷ predict on float32: ${ratio.toFixed(2)}`,
);
if (values['llama-cpp']) {
  const script = fileURLToPath(new URL('peers/llamaCpp.ts', import.meta.url));
  await withLlamaCpp(folder => {
    const counts = [PROMPT, WRITTEN, values.rounds].map(String);
    const theirs = JSON.parse(run('npx', 'tsx', script, folder, smollm2(), ...counts)) as Record<string, number>;
    const show = (name: string) =>
      `${theirs[name]!.toFixed(0)} (ours takes ${(median(`4 bits ${name}`) / theirs[name]!).toFixed(1)} times as long)`;
    console.log(
      `llama.cpp on one thread, by the clock on the wall: a prompt ${show('prompt')}, a token ${show('token')}`,
    );
  });
}
