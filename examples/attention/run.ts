import * as tf from '@tensorflow/tfjs';
import {applyLoRA, loadAdapter, mergeLoRA, registerAdaptable, saveAdapter} from 'tfjs-lora';
import {encode, makeWords, repeat, reverse} from './data';
import {BATCH, buildWriter, fit, score, type Score} from './model';

/** The numbers of training steps, and where to write the files. */
export interface RunOptions {
  steps: {pretraining: number; adapting: number};
  files: {adapter: tf.io.IOHandler; merged: tf.io.IOHandler};
  /** Makes a callback for each of the two trainings. */
  progress?: (label: string) => tf.Callback;
}

/** The results. */
export interface Outcome {
  models: Record<'base' | 'adapted' | 'reloaded' | 'merged', tf.LayersModel>;
  /** How well each model repeats and reverses words. */
  scores: Record<'base' | 'adapted' | 'reloaded' | 'merged', {repeat: Score; reverse: Score}>;
  /** The largest difference between the probabilities of the base and of the adapted model before training. */
  differenceAtStart: number;
}

/** The example, step by step. */
export async function run({steps, files, progress}: RunOptions): Promise<Outcome> {
  const options = (label: string, count: number, learningRate: number) => ({
    epochs: Math.ceil((count * BATCH) / WORDS),
    learningRate,
    ...(progress && {callbacks: progress(label)}),
  });
  const words = makeWords(WORDS, 1);
  const heldOut = makeWords(256, 2);
  const [repeating, reversing] = [encode(heldOut, repeat), encode(heldOut, reverse)];

  // 1. A pretrained transformer that has learned to repeat a word.
  const base = buildWriter();
  await fit(base, encode(words, repeat), options('pretraining', steps.pretraining, 3e-3));

  // 2. Its attention is a custom layer. One line says which of its weights can be adapted.
  registerAdaptable('CausalSelfAttention', {weights: ['attn_kernel', 'proj_kernel']});

  // 3. So 'all' finds it, like the Dense layers. The embeddings of letters and positions stay as they are.
  const adapted = applyLoRA(base, {targets: 'all', exclude: ['tokens', 'positions'], rank: 8, alpha: 16, seed: 3});
  const differenceAtStart = difference(base, adapted, reversing.texts);

  // 4. It learns to write words backwards, so the attention has to look at other positions.
  await fit(adapted, encode(words, reverse), options('LoRA', steps.adapting, 5e-3));

  // 5. The adapter is a small file. Applied to the base, it gives the trained model again.
  await saveAdapter(adapted, files.adapter);
  const adapter = await loadAdapter(files.adapter);
  const reloaded = applyLoRA(base, adapter);
  adapter.dispose();

  // 6. The merged model has the same custom layer as the base, and needs nothing of the library.
  await mergeLoRA(adapted).save(files.merged);
  const merged = await tf.loadLayersModel(files.merged);

  const models = {base, adapted, reloaded, merged};
  const judge = (model: tf.LayersModel) => ({repeat: score(model, repeating), reverse: score(model, reversing)});
  return {
    models,
    scores: {base: judge(base), adapted: judge(adapted), reloaded: judge(reloaded), merged: judge(merged)},
    differenceAtStart,
  };
}

/** Words to train on. */
const WORDS = 2048;

/** The largest difference between the predictions of two models. */
function difference(one: tf.LayersModel, other: tf.LayersModel, texts: tf.Tensor): number {
  return tf.tidy(() => {
    const [a, b] = [one, other].map(model => model.predict(texts) as tf.Tensor) as [tf.Tensor, tf.Tensor];
    return tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]!;
  });
}
