import * as tf from '@tensorflow/tfjs';
import {applyLoRA, loadAdapter, mergeLoRA, registerAdaptable, saveAdapter} from 'tfjs-lora';
import {encode, makeWords, repeat, reverse} from './data';
import {BATCH, buildWriter, fit, score, type Score} from './model';

/** How long to train, and where files go. */
export interface RunOptions {
  steps: {pretraining: number; adapting: number};
  files: {adapter: tf.io.IOHandler; merged: tf.io.IOHandler};
  /** A callback for each of the two trainings. */
  progress?: (label: string) => tf.Callback;
}

/** What came out. */
export interface Outcome {
  models: Record<'base' | 'adapted' | 'reloaded' | 'merged', tf.LayersModel>;
  /** How well each of the models writes words once more, and backwards. */
  scores: Record<'base' | 'adapted' | 'reloaded' | 'merged', {repeat: Score; reverse: Score}>;
  /** The largest difference between what the base and the new adapted model predicted, of chances. */
  differenceAtBirth: number;
}

/** The story, step by step. */
export async function run({steps, files, progress}: RunOptions): Promise<Outcome> {
  const options = (label: string, count: number, learningRate: number) => ({
    epochs: Math.ceil((count * BATCH) / WORDS),
    learningRate,
    ...(progress && {callbacks: progress(label)}),
  });
  const words = makeWords(WORDS, 1);
  const heldOut = makeWords(256, 2);
  const [repeating, reversing] = [encode(heldOut, repeat), encode(heldOut, reverse)];

  // 1. A pretrained transformer: it has learned to write a word once more.
  const base = buildWriter();
  await fit(base, encode(words, repeat), options('pretraining', steps.pretraining, 3e-3));

  // 2. Its attention is a class of our own. One line says which of its weights can have an update.
  registerAdaptable('CausalSelfAttention', {weights: ['attn_kernel', 'proj_kernel']});

  // 3. So 'all' finds it, beside the Dense layers. What letters and positions look like stays as it is.
  const adapted = applyLoRA(base, {targets: 'all', exclude: ['tokens', 'positions'], rank: 8, alpha: 16, seed: 3});
  const differenceAtBirth = difference(base, adapted, reversing.texts);

  // 4. It learns to write words backwards, for which the attention has to look elsewhere.
  await fit(adapted, encode(words, reverse), options('LoRA', steps.adapting, 5e-3));

  // 5. What it learned is a small file, and that file with the base is the model again.
  await saveAdapter(adapted, files.adapter);
  const adapter = await loadAdapter(files.adapter);
  const reloaded = applyLoRA(base, adapter);
  adapter.dispose();

  // 6. Merged, it is a model of our own classes as the base is, in need of nothing of the library.
  await mergeLoRA(adapted).save(files.merged);
  const merged = await tf.loadLayersModel(files.merged);

  const models = {base, adapted, reloaded, merged};
  const judge = (model: tf.LayersModel) => ({repeat: score(model, repeating), reverse: score(model, reversing)});
  return {
    models,
    scores: {base: judge(base), adapted: judge(adapted), reloaded: judge(reloaded), merged: judge(merged)},
    differenceAtBirth,
  };
}

/** Words to train on. */
const WORDS = 2048;

/** The largest difference between what two models predict. */
function difference(one: tf.LayersModel, other: tf.LayersModel, texts: tf.Tensor): number {
  return tf.tidy(() => {
    const [a, b] = [one, other].map(model => model.predict(texts) as tf.Tensor) as [tf.Tensor, tf.Tensor];
    return tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]!;
  });
}
