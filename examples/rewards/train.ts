/**
 * Teaches a small language model to answer in at most twelve words. It sees no short answer: it samples answers, and two
 * JavaScript functions reward them.
 *
 *     npm run example -- rewards
 *     npm run example -- rewards --quick    three steps
 *     npm run example -- rewards --gamed    without the second reward
 */
import {openAsBlob} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {adamW, applyLoRA, fileHandler, saveAdapter, startWasm} from 'tfjs-lora';
import {loadGGUF, type SampledAnswer, trainOnRewards} from 'tfjs-lora/language';
import {smollm2} from '../../scripts/pretrained';
import {mean, SHORT, table} from '../shared/report';
import {answersTo} from './heldOut';
import {countWords, shortReward} from './rules';
import {type Question, TASKS} from './tasks';

const SEED = 1;
const QUICK = process.argv.includes('--quick');
const GAMED = process.argv.includes('--gamed');
const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));
const {train, test, maxTokens, learningRate} = TASKS.short!;
const MOST_WORDS = 12;

await startWasm();
tf.enableProdMode();

// 1. A language model in 4 bits, as it was downloaded, with low-rank factors on its attention. Only these train.
const {model: base, tokenizer} = await loadGGUF(await openAsBlob(smollm2()));
const model = applyLoRA(base, {rank: 16, alpha: 32, targets: [/[qkvo]_proj$/], seed: SEED});

// 2. The rewards. The first is 1 for one to twelve words, less for longer answers, and 0 for none. "A fox." gets it all,
//    although it says nothing, so the second asks for five words that the question does not have.
const isShort = (answer: SampledAnswer) => shortReward(answer, MOST_WORDS);
const wordsOf = (text: string): string[] => text.toLowerCase().match(/[a-z]+/g) ?? [];
const saysSomething = ({text, record}: SampledAnswer) => {
  const asked = wordsOf((record as Question).prompt[0]!.content);
  return Math.min(1, new Set(wordsOf(text).filter(word => !asked.includes(word))).size / 5);
};
const rewards = GAMED ? [isShort] : [isShort, saysSomething];

// 3. What the model answers to questions that it will not train on.
const asked = {maxTokens, seed: SEED};
const before = await answersTo(test, model, tokenizer, asked);

// 4. Each step asks one question eight times, rewards the answers, and makes the better ones more likely.
await trainOnRewards(model, tokenizer, {
  prompts: train,
  rewards: rewards.map(reward => [answers => answers.map(reward), 1 / rewards.length]),
  optimizer: adamW({learningRate}),
  steps: QUICK ? 3 : 20,
  ...{group: 8, maxTokens, seed: SEED},
  onStep: ({step, reward, length, examples}) => {
    const shown = JSON.stringify(examples[0]!.text.slice(0, 60));
    console.log(`step ${step + 1}: reward ${reward.toFixed(2)}, ${length.toFixed(0)} tokens, such as ${shown}`);
  },
});

// 5. The same questions again, and what both rewards say of the answers.
const after = await answersTo(test, model, tokenizer, asked);
test.slice(0, 3).forEach(({prompt}, i) => {
  console.log(`\n${prompt[0]!.content}`);
  console.log(`  before: ${JSON.stringify(before[i]!.text)}\n  after:  ${JSON.stringify(after[i]!.text)}`);
});
const row = (name: string, answers: SampledAnswer[]) => [
  name,
  ...[isShort, saysSomething].map(judge => mean(answers.map(judge)).toFixed(2)),
  mean(answers.map(({text}) => countWords(text))).toFixed(1),
];
const head = ['', 'at most twelve words', 'says something', 'words'];
console.log(`\n${table([head, row('before', before), row('after', after)])}\n`);

// 6. The adapter is a small file.
await saveAdapter(model, fileHandler(join(OUTPUT, GAMED ? 'gamed.json' : 'short.json')));
if (QUICK) {
  console.log(SHORT);
}
