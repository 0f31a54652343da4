/**
 * Fine-tunes a small language model, quantized as it was downloaded, to turn spoken orders into kitchen tickets.
 *
 *     npm run example -- language            LoRA on the 4-bit base: five to eight minutes
 *     npm run example -- language --quick    24 orders in four epochs: about two minutes
 *     npm run example -- language --all      every setup with three seeds: hours. It resumes where it was stopped
 */
import {existsSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {startWasm} from 'tfjs-lora';
import {SHORT, table} from '../shared/report';
import {makeOrders} from './data';
import {type Arm, ARMS, learn, type Measured, type Outcome} from './learn';

const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));
const RESULTS = join(OUTPUT, 'results.json');
const isQuick = process.argv.includes('--quick');
const isAll = !isQuick && process.argv.includes('--all');
const orders = makeOrders(isQuick ? {train: 24, test: 8} : {train: 240, test: 24});
const epochs = isQuick ? 4 : 1;
const arms: readonly Arm[] = isAll ? ARMS : [ARMS[0]];
const seeds = isAll ? [1, 2, 3] : [1];

await startWasm();
tf.enableProdMode();
mkdirSync(OUTPUT, {recursive: true});
const begin = Date.now();
const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
/** Outcomes of an earlier run. */
const done: Record<string, Outcome> =
  isAll && existsSync(RESULTS) ? (JSON.parse(readFileSync(RESULTS, 'utf8')) as Record<string, Outcome>) : {};

console.log(`${orders.train.length} orders to train on, ${orders.test.length} held-out orders\n`);
for (const arm of arms) {
  for (const seed of seeds) {
    const key = `${arm}, seed ${seed}`;
    if (done[key] !== undefined) {
      continue;
    }
    console.log(key);
    const steps = epochs * Math.ceil(orders.train.length / 4);
    const onStep = (step: number, loss: number) => {
      if (step % (isQuick ? 6 : 10) === 0 || step === steps) {
        console.log(`  step ${step} of ${steps}: loss ${loss.toFixed(3)}`);
      }
    };
    try {
      const {outcome, gguf} = await learn(arm, orders, {
        epochs,
        seed,
        asksWithExamples: !isQuick && arm === ARMS[0] && seed === 1,
        onStep,
      });
      done[key] = outcome;
      if (gguf !== undefined) {
        writeFileSync(join(OUTPUT, 'adapter.gguf'), gguf);
      }
    } catch (error) {
      // Full fine-tuning may need more memory than is available.
      console.log(`  did not fit: ${(error as Error).message.split('\n')[0]}`);
      continue;
    }
    if (isAll) {
      writeFileSync(RESULTS, JSON.stringify(done, null, 1));
    }
  }
}

const [first] = Object.values(done);
if (first !== undefined) {
  console.log('\nAnswers to held-out orders, before and after training:');
  orders.test.slice(0, first.after.samples.length).forEach(({prompt}, i) => {
    const shown = ({samples}: Measured) => JSON.stringify(samples[i]!.trim());
    console.log(`\n${prompt}\n  before: ${shown(first.before)}\n  after:  ${shown(first.after)}`);
  });
}
const row = (name: string, measured: Measured[], rest: string[] = ['', '', '', '']) => [
  name,
  mean(measured.map(({perplexity}) => perplexity)).toFixed(3),
  percent(mean(measured.map(({valid}) => valid))),
  percent(mean(measured.map(({correct}) => correct))),
  ...rest,
];
const rows = arms.flatMap(arm => {
  const outcomes = seeds.map(seed => done[`${arm}, seed ${seed}`]).filter(outcome => outcome !== undefined);
  const [{trained, megabytes, kilobytes}] = outcomes.length === 0 ? [{}] : (outcomes as [Outcome]);
  const of = (part: 'before' | 'withExamples' | 'after') =>
    outcomes.map(outcome => outcome[part]).filter(measured => measured !== undefined);
  return outcomes.length === 0
    ? [[arm, 'did not fit', '', '', '', '', '', '']]
    : [
        ...(arm === ARMS[0] ? [row('base', of('before'))] : []),
        ...(of('withExamples').length > 0 ? [row('base, three examples', of('withExamples'))] : []),
        row(arm, of('after'), [
          trained!.toLocaleString('en'),
          mean(outcomes.map(({seconds}) => seconds)).toFixed(0),
          megabytes!.toFixed(0),
          kilobytes!.toLocaleString('en', {maximumFractionDigits: 0}),
        ]),
      ];
});
const head = ['', 'perplexity', 'valid', 'correct', 'parameters', 'CPU, s', 'base, MB', 'adapter, kB'];
console.log(`\n${table([head, ...rows])}\n\n${((Date.now() - begin) / 1000).toFixed(0)} s`);
console.log('valid: answers in the format of a ticket; correct: equal to the expected ticket');
if (isQuick) {
  console.log(`\n${SHORT}`);
}
