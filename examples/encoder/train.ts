/**
 * A pretrained sentence encoder learns to detect spam by its subject line: with a new head alone, with LoRA, and with
 * full fine-tuning. Then three adapters for three tasks share one encoder in memory.
 *
 *     npm run example -- encoder
 *     npm run example -- encoder --quick    one seed, fewer subjects
 */
import * as tf from '@tensorflow/tfjs';
import {disposeModel, startWasm} from 'tfjs-lora';
import {mails, minilm} from '../../scripts/pretrained';
import {SHORT, table} from '../shared/report';
import {makeTasks} from './data';
import {learn, type Outcome, WAYS} from './learn';
import {shareOneEncoder} from './share';

const isQuick = process.argv.includes('--quick');
const amounts = isQuick ? {train: 96, test: 128} : {train: 256, test: 320};
const seeds = isQuick ? [1] : [1, 2, 3];
const epochs = 2;

await startWasm();
tf.enableProdMode();
const begin = Date.now();
const encoder = await minilm();
const tasks = makeTasks(mails(), amounts);
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

const {train, test, name} = tasks.spam;
console.log(
  `${name}: ${train.length} subject lines to train on, ${test.length} held out; ${isQuick ? 'one seed' : `${seeds.length} seeds`}\n`,
);
const rows: string[][] = [];
for (const way of WAYS) {
  const outcomes: Outcome[] = [];
  for (const seed of seeds) {
    const {outcome, model} = await learn(encoder, tasks.spam, way, {epochs, seed});
    disposeModel(model);
    outcomes.push(outcome);
    console.log(`  ${way}, seed ${seed}: ${percent(outcome.accuracy)} in ${outcome.seconds.toFixed(0)} s`);
  }
  const [{parameters, kilobytes}] = outcomes as [Outcome];
  rows.push([
    way,
    percent(mean(outcomes.map(({accuracy}) => accuracy))),
    parameters.toLocaleString('en'),
    mean(outcomes.map(({seconds}) => seconds)).toFixed(1),
    kilobytes.toLocaleString('en', {maximumFractionDigits: 0}),
  ]);
}
console.log(`\n${table([['', 'accuracy', 'trainable', 'seconds', 'file, kB'], ...rows])}\n`);

const shared = await shareOneEncoder(encoder, Object.values(tasks), epochs);
console.log(
  `One encoder in memory (${shared.megabytes.toFixed(0)} MB) and an adapter for each task:\n\n${table([
    ['adapter', 'accuracy', 'file, kB', 'ms to switch'],
    ...shared.rows.map(({task, accuracy, kilobytes, milliseconds}) => [
      task,
      percent(accuracy),
      kilobytes.toFixed(0),
      milliseconds.toFixed(1),
    ]),
  ])}`,
);
console.log(`\n${((Date.now() - begin) / 1000).toFixed(0)} s`);
if (isQuick) {
  console.log(SHORT);
}
