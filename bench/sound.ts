/**
 * What it costs to listen for words: the features of one second of sound, and the prediction of the base of the sounds
 * example, of the same with LoRA, and with LoRA merged, on one thread of wasm. The four take turns.
 *
 *     npm run bench -- sound [--rounds 30]
 */
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {disposeModel, mergeLoRA} from 'tfjs-lora';
import {encodeWords, loadWordBase} from 'tfjs-lora/words';
import {noise} from '../examples/sounds/clips';
import {adapt, HOP} from '../examples/sounds/learn';
import {processor} from './machine';
import {measure, ratioOf, time, timeOf} from './measure';
import {printTable} from './table';

const {values} = parseArgs({options: {rounds: {type: 'string', default: '30'}}});

tf.enableProdMode();
await tf.setBackend('wasm');
const {model: bare} = await loadWordBase();
const base = adapt(bare, 7, 'head', 1);
const adapted = adapt(bare, 7, 'lora', 1);
const merged = mergeLoRA(adapted);
const sound = noise(1, 1);
const window = encodeWords(sound);
const predict = (model: tf.LayersModel) => async () => {
  const scores = model.predict(window) as tf.Tensor;
  await scores.data();
  scores.dispose();
};
const runs = {
  features: async () => {
    const features = encodeWords(sound);
    await features.data();
    features.dispose();
  },
  base: predict(base),
  adapted: predict(adapted),
  merged: predict(merged),
};
const outcomes = await measure(
  Object.entries(runs).map(([name, run]) => ({name, sample: (repeats, clock) => time(run, repeats, clock)})),
  {clock: 'cpu', rounds: Number(values.rounds), sampleMs: 100},
);
const features = timeOf(outcomes, 'features')!.median;
const ofBase = features + timeOf(outcomes, 'base')!.median;
const rows = ['base', 'adapted', 'merged'].map(name => {
  const {median} = timeOf(outcomes, name)!;
  const {median: ratio, low, high} = ratioOf(outcomes, name, 'base')!;
  const share = (features + median) / (1000 * HOP);
  const spread = `${ratio.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
  return [name, median.toFixed(2), spread, ((features + median) / ofBase).toFixed(2), `${(100 * share).toFixed(1)} %`];
});
console.log(`${processor()}; processor time, medians of ${values.rounds} rounds; features: ${features.toFixed(2)} ms`);
printTable(['', 'prediction, ms', '÷ base (quartiles)', 'with features, ÷ base', 'of one core'], rows);
[base, adapted, merged, bare].forEach(disposeModel);
