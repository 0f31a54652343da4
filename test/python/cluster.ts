// PEFT trains an adapter in two processes, tfjs continues with subject lines that these do not have, and PEFT loads the
// result: test/python/run.sh, with the folder of the environment and one for files. The logits agree each time.

import {execFileSync} from 'node:child_process';
import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel, loadAdapter, saveAdapter, startWasm} from 'tfjs-lora';
import {encodeExamples, encodeTexts, loadTransformer} from 'tfjs-lora/transformers';
import {readMails} from '../../examples/sentences/mails';
import {percent} from '../../examples/shared/report';
import {shuffled} from '../../examples/shared/random';
import {mails, minilm} from '../../scripts/pretrained';

const [environment, folder] = process.argv.slice(2) as [string, string];
const ENCODED = {maxLength: 24}; // as in cluster.py

await startWasm();
const encoder = await minilm();

// Spam (1) or not (0). The cluster has spam and what people wrote; the device has spam and newsletters that it wants.
const subjects = shuffled(readMails(mails()), 7);
const next = (group: string, label: number, count: number) =>
  subjects
    .filter(mail => mail.group.startsWith(group))
    .slice(0, count)
    .map(mail => ({text: subjects.splice(subjects.indexOf(mail), 1)[0]!.subject, label}));
const heldOut = {
  mails: [...next('spam', 1, 160), ...next('easy-ham', 0, 160)],
  newsletters: next('hard-ham', 0, 120),
};
const ofCluster = [...next('spam', 1, 600), ...next('easy-ham', 0, 600)];
const ofDevice = [...next('spam', 1, 120), ...next('hard-ham', 0, 120)];
const texts = Object.values(heldOut).flatMap(examples => examples.map(({text}) => text));

function write(name: string, value: unknown): string {
  const file = join(folder, name);
  writeFileSync(file, JSON.stringify(value));
  return file;
}

function run(program: string, ...args: string[]): void {
  const env = {...process.env, HF_HUB_OFFLINE: '1', TOKENIZERS_PARALLELISM: 'false', TRANSFORMERS_VERBOSITY: 'error'};
  execFileSync(join(environment, 'bin', program), args, {stdio: 'inherit', env});
}

/** Compares the logits of the model here with those of PEFT, and tells how accurate they are. */
function agree(when: string, model: tf.LayersModel, adapter: string): void {
  const file = join(folder, 'logits.json');
  run('python', 'test/python/cluster.py', 'logits', encoder.folder, adapter, write('texts.json', texts), file);
  const theirs = JSON.parse(readFileSync(file, 'utf8')) as number[][];
  const ours = tf.tidy(() => {
    const {inputs} = encodeTexts(model, encoder.tokenizer, texts, ENCODED);
    return (model.predict(inputs, {batchSize: 64}) as tf.Tensor2D).arraySync();
  });
  const largest = Math.max(...theirs.flat().map(Math.abs));
  const apart = Math.max(...ours.flat().map((value, i) => Math.abs(value - theirs.flat()[i]!))) / largest;
  if (!(apart <= 1e-5)) {
    throw new Error(`${when}, the logits differ from PyTorch's by ${apart} of the largest.`);
  }
  let from = 0;
  const accuracies = Object.entries(heldOut).map(([name, examples]) => {
    const logits = ours.slice(from, (from += examples.length));
    const right = examples.filter(({label}, i) => logits[i]![label]! > logits[i]![1 - label]!).length;
    return `${percent(right / examples.length)} of ${name}`;
  });
  console.log(`${when}: ${accuracies.join(', ')}; logits within ${apart.toExponential(1)} of PyTorch's`);
}

const trainedThere = join(folder, 'from-cluster');
run(
  'accelerate',
  ...['launch', '--multi_gpu', '--num_processes', '2', '--mixed_precision', 'no', '--num_machines', '1'],
  ...['--dynamo_backend', 'no', '--main_process_port', '0', 'test/python/cluster.py', 'train'],
  ...[encoder.folder, write('cluster.json', ofCluster), trainedThere],
);
const {model: base} = await loadTransformer({config: encoder.config, weights: encoder.weights, labels: 2});
const model = applyLoRA(base, await loadAdapter(trainedThere, {model: base}));
agree('After the cluster', model, trainedThere);

compileModel(model, {optimizer: adam({learningRate: 5e-4})});
const data = await encodeExamples(model, encoder.tokenizer, ofDevice, {...ENCODED, batchSize: 8, seed: 1});
await model.fitDataset(data, {epochs: 2, verbose: 0});
const trainedHere = join(folder, 'from-device');
await saveAdapter(model, trainedHere, {format: 'peft', baseModel: encoder.folder});
agree('After the device', model, trainedHere);
