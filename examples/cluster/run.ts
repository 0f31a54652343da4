/**
 * A cluster trains an adapter with PEFT. tfjs continues the training with data that the cluster does not have, and PEFT
 * loads the result.
 *
 *     npm run example -- cluster
 */
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {adam, applyLoRA, compileModel, loadAdapter, saveAdapter, summarizeLoRA} from 'tfjs-lora';
import {encodeTexts, loadTransformer} from 'tfjs-lora/transformers';
import {mails, minilm} from '../../scripts/pretrained';
import type {Labelled} from '../encoder/data';
import {fit} from '../encoder/learn';
import {table} from '../shared/report';
import {subjectsIn} from './data';
import {installPEFT, run} from './python';

const PROCESSES = 2;
/** The largest difference of logits, relative to the largest logit. */
const TOLERANCE = 1e-5;
/** Longer subjects are truncated, in tokens, as in measure.py. */
const PLACES = 24;

const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));
const path = (name: string) => join(OUTPUT, name);
const write = (name: string, value: unknown) => writeFileSync(path(name), JSON.stringify(value));
const seconds = () => performance.now() / 1000;

await tf.setBackend('wasm');
tf.enableProdMode();
installPEFT();
const encoder = await minilm();
const subjects = subjectsIn(mails());
const heldOut = [...subjects.mails, ...subjects.newsletters];
mkdirSync(OUTPUT, {recursive: true});
const begin = seconds();

/** Logits of the held-out subjects, two for each. */
type Logits = number[][];

function logitsHere(model: tf.LayersModel): Logits {
  const BATCH = 64;
  return Array.from({length: Math.ceil(heldOut.length / BATCH)}, (_, i) => {
    const batch = heldOut.slice(i * BATCH, (i + 1) * BATCH).map(({text}) => text);
    return tf.tidy(() => {
      const {inputs} = encodeTexts(model, encoder.tokenizer, batch, {maxLength: PLACES});
      return (model.predict(inputs, {batchSize: BATCH}) as tf.Tensor2D).arraySync();
    });
  }).flat();
}

function logitsOfPEFT(adapter: string): Logits {
  run('python', 'measure.py', encoder.folder, path(adapter), path('texts.json'), path('logits.json'));
  return JSON.parse(readFileSync(path('logits.json'), 'utf8')) as Logits;
}

/** @throws Error if the logits differ. */
function compare(ours: Logits, theirs: Logits): string {
  const largest = Math.max(...theirs.flat().map(Math.abs));
  const apart = Math.max(...ours.flat().map((value, i) => Math.abs(value - theirs.flat()[i]!))) / largest;
  if (!(apart <= TOLERANCE)) {
    throw new Error(`The logits differ from PyTorch's by ${apart} of the largest logit.`);
  }
  return apart.toExponential(1);
}

const rows = [['', 'accuracy, mails', 'loss', 'accuracy, newsletters']];

function report(name: string, logits: Logits): void {
  const measure = (examples: Labelled[], from: number) => {
    const own = logits.slice(from, from + examples.length);
    const right = examples.filter(({label}, i) => own[i]!.indexOf(Math.max(...own[i]!)) === label).length;
    const losses = examples.map(({label}, i) =>
      Math.log(own[i]!.reduce((sum, x) => sum + Math.exp(x - own[i]![label]!), 0)),
    );
    return {
      right: `${((100 * right) / examples.length).toFixed(1)} %`,
      loss: (losses.reduce((sum, loss) => sum + loss, 0) / examples.length).toFixed(3),
    };
  };
  const ofMails = measure(subjects.mails, 0);
  rows.push([name, ofMails.right, ofMails.loss, measure(subjects.newsletters, subjects.mails.length).right]);
}

// 1. The cluster trains: processes that share each batch and sum their gradients.
write('cluster.json', subjects.cluster);
write(
  'texts.json',
  heldOut.map(({text}) => text),
);
const {length} = subjects.cluster;
console.log(`\n1. PEFT trains on ${length} subject lines of mail and spam, in ${PROCESSES} processes:`);
run(
  'accelerate',
  ...['launch', '--multi_gpu', '--num_processes', String(PROCESSES), '--mixed_precision', 'no'],
  ...['--num_machines', '1', '--dynamo_backend', 'no', '--main_process_port', '0'],
  ...['train.py', encoder.folder, path('cluster.json'), path('from-cluster')],
);

// 2. tfjs imports the adapter, and computes the same.
const {model: base} = await loadTransformer({config: encoder.config, weights: encoder.weights, labels: 2});
report('before training, with a new head', logitsHere(base));
const model = applyLoRA(base, await loadAdapter(path('from-cluster'), {model: base}));
console.log(`\n2. Imported into tfjs: ${String(summarizeLoRA(model)).split('\n').at(-1)}`);
const imported = logitsHere(model);
const differs = compare(imported, logitsOfPEFT('from-cluster'));
console.log(`   Its logits differ from PyTorch's by ${differs} of the largest logit.`);
report('after the cluster', imported);

// 3. Training continues with data that the cluster does not have.
console.log(`\n3. tfjs continues training on ${subjects.own.length} subject lines of wanted newsletters and spam:`);
const start = seconds();
compileModel(model, {optimizer: adam({learningRate: 5e-4})});
await fit(model, encoder, subjects.own, 2, 1);
console.log(`   ${(seconds() - start).toFixed(0)} s`);
const trained = logitsHere(model);
report('after the device', trained);

// 4. PEFT loads the result.
await saveAdapter(model, path('from-here'), {format: 'peft', baseModel: encoder.folder});
const returned = logitsOfPEFT('from-here');
console.log(`\n4. PEFT loaded the result. Its logits differ by ${compare(trained, returned)} of the largest logit.`);
report('back in PEFT', returned);

console.log(`\n${table(rows)}\n`);
console.log(
  `${(seconds() - begin).toFixed(0)} s. The two adapters are ${path('from-cluster')} and ${path('from-here')}.`,
);
