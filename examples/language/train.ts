/**
 * A small language model learns to write kitchen tickets from spoken orders, its base quantised as it was downloaded.
 *
 *     npm run example -- language            one arm: LoRA on the base in 4 bits
 *     npm run example -- language --quick    fewer orders
 *     npm run example -- language --all      every arm with three seeds; it goes on where it was stopped
 */
import {existsSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {SHORT, table} from '../shared/report';
import {makeOrders} from './data';
import {type Arm, ARMS, learn, type Measured, type Outcome} from './learn';

const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));
const RESULTS = join(OUTPUT, 'results.json');
const isQuick = process.argv.includes('--quick');
const isAll = !isQuick && process.argv.includes('--all');
const orders = makeOrders(isQuick ? {train: 16, test: 4} : {train: 240, test: 24});
const arms: readonly Arm[] = isAll ? ARMS : [ARMS[0]];
const seeds = isAll ? [1, 2, 3] : [1];

await tf.setBackend('wasm');
tf.enableProdMode();
mkdirSync(OUTPUT, {recursive: true});
const begin = Date.now();
const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
/** What ran before, of the same size. */
const done: Record<string, Outcome> =
  isAll && existsSync(RESULTS) ? (JSON.parse(readFileSync(RESULTS, 'utf8')) as Record<string, Outcome>) : {};

console.log(`${orders.train.length} orders to learn from; ${orders.test.length} others to be asked\n`);
for (const arm of arms) {
  for (const seed of seeds) {
    const key = `${arm}, seed ${seed}`;
    if (done[key] !== undefined) {
      continue;
    }
    console.log(key);
    const steps = Math.ceil(orders.train.length / 4);
    const onStep = (step: number, loss: number) => {
      if (step % 10 === 0 || step === steps) {
        console.log(`  step ${step} of ${steps}: loss ${loss.toFixed(3)}`);
      }
    };
    try {
      const {outcome, gguf} = await learn(arm, orders, {
        epochs: 1,
        seed,
        asksWithExamples: !isQuick && arm === ARMS[0] && seed === 1,
        onStep,
      });
      done[key] = outcome;
      if (gguf !== undefined) {
        writeFileSync(join(OUTPUT, 'adapter.gguf'), gguf);
      }
    } catch (error) {
      // A full fine-tuning may take more memory than there is.
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
  console.log('\nWhat is asked, and what is answered before and after:');
  orders.test.slice(0, first.after.samples.length).forEach(({prompt}, i) => {
    const shown = ({samples}: Measured) => JSON.stringify(samples[i]!.trim());
    console.log(`\n${prompt}\n  before: ${shown(first.before)}\n  after:  ${shown(first.after)}`);
  });
}
const row = (name: string, measured: Measured[], rest: string[] = ['', '', '', '']) => [
  name,
  mean(measured.map(({perplexity}) => perplexity)).toFixed(3),
  percent(mean(measured.map(({tickets}) => tickets))),
  percent(mean(measured.map(({right}) => right))),
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
const head = ['', 'perplexity', 'tickets', 'right', 'trained', 'CPU, s', 'base, MB', 'file, kB'];
console.log(`\n${table([head, ...rows])}\n\n${((Date.now() - begin) / 1000).toFixed(0)} s`);
if (isQuick) {
  console.log(SHORT);
}
