/**
 * Teaches a small language model, in 4 bits, which of two answers is preferred: the short one.
 *
 *     npm run example -- preferences            three seeds. It resumes where it was stopped
 *     npm run example -- preferences --quick    one seed, fewer pairs
 */
import {existsSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {startWasm} from 'tfjs-lora';
import {mean, percent, SHORT, table} from '../shared/report';
import {makePairs} from './data';
import {learn, type Measured, type Outcome, STAGES} from './learn';

const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));
const RESULTS = join(OUTPUT, 'results.json');
const isQuick = process.argv.includes('--quick');
const pairs = makePairs(isQuick ? {train: 24, test: 8} : {train: 56, test: 20});
const seeds = isQuick ? [1] : [1, 2, 3];
const epochs = isQuick ? 2 : 1;

await startWasm();
tf.enableProdMode();
mkdirSync(OUTPUT, {recursive: true});
const begin = Date.now();
/** Outcomes by seed, also those of an earlier run. */
const done: Record<string, Outcome> =
  !isQuick && existsSync(RESULTS) ? (JSON.parse(readFileSync(RESULTS, 'utf8')) as Record<string, Outcome>) : {};

console.log(`${pairs.train.length} pairs to learn from, ${pairs.test.length} held-out pairs`);
for (const seed of seeds.filter(each => done[each] === undefined)) {
  console.log(`\nseed ${seed}`);
  const tell = (line: string) => console.log(`  ${line}`);
  done[seed] = await learn(pairs, {seed, epochs, compares: !isQuick, tell});
  if (!isQuick) {
    writeFileSync(RESULTS, JSON.stringify(done, null, 1));
  }
}

const outcomes = seeds.map(seed => done[seed]!);
const [first] = outcomes;
console.log('\nAnswers to held-out questions:');
first!.base!.samples.forEach((_, i) => {
  console.log(`\n${pairs.test[i]!.prompt}`);
  STAGES.forEach(stage => {
    const answer = first![stage]?.samples[i];
    if (answer !== undefined) {
      console.log(`  ${stage}: ${JSON.stringify(answer.trim())}`);
    }
  });
});
const rows = STAGES.filter(stage => first![stage] !== undefined).map(stage => {
  const all = outcomes.map(outcome => outcome[stage]!);
  const over = (of: (measured: Measured) => number) => mean(all.map(of));
  const each = all.map(({rate}) => Math.round(100 * rate)).join(', ');
  const texts = [over(({accuracy}) => accuracy), over(({rate}) => rate)].map(percent);
  return [stage, ...texts, each, over(({words}) => words).toFixed(1), over(m => m.perplexity).toFixed(2)];
});
const head = ['', 'accuracy', 'rule', 'each seed, %', 'words', 'perplexity'];
console.log(`\n${table([head, ...rows])}\n\n${((Date.now() - begin) / 1000).toFixed(0)} s`);
console.log('accuracy: held-out pairs whose chosen answer is likelier per token; rule: short generated answers');
if (isQuick) {
  console.log(`\n${SHORT}`);
}
