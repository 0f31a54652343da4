import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, seededBatches} from 'tfjs-lora';
import type {Digits} from '../shared/digits';
import {mulberry32} from '../shared/random';

// What the clients do, in Node and in a page: they learn digits that are rotated by 90°, of which each has mostly
// a few kinds.

export const CLIENTS = 4;

/** Digits of each kind: the base learns from the first, the clients from the next, the rest is held out. */
export const OF_BASE = 200;
export const OF_CLIENTS = 150;

/** How the adapter is made, and how a client trains it in one round. The rates are those of the first one. */
export const RANK = 8;
const RATES = {lora: 1e-2, 'lora-fa': 2e-2};
const EPOCHS = 2;

export type Method = keyof typeof RATES;

export function adapt(base: tf.LayersModel, method: Method, seed: number): tf.LayersModel {
  const model = applyLoRA(base, {rank: RANK, alpha: 2 * RANK, method, seed});
  model.compile({optimizer: adam({learningRate: RATES[method]}), loss: 'categoricalCrossentropy'});
  return model;
}

/** Those of the clients' digits that belong to one of them. */
export function ownDigits({images, labels}: Digits, client: number, seed: number): Digits {
  const own = owners(seed).flatMap((owner, i) => (owner === client ? [i] : []));
  return tf.tidy(() => ({images: tf.gather(images, own), labels: tf.gather(labels, own)}));
}

/** Which client each digit belongs to: three of five go to the client whose kind it is, the others to any. */
function owners(seed: number): number[] {
  const random = mulberry32(seed);
  return Array.from({length: 10 * OF_CLIENTS}, (_, i) => {
    const kind = Math.floor(((i % 10) * CLIENTS) / 10);
    return random() < 0.6 ? kind : Math.floor(random() * CLIENTS);
  });
}

/** Trains for one of so many rounds on a client's digits. LoRA's rate falls along half a cosine, LoRA-FA's stays. */
export async function learn(
  model: tf.LayersModel,
  method: Method,
  {images, labels}: Digits,
  {round, rounds}: {round: number; rounds: number},
): Promise<number> {
  const share = method === 'lora' ? (1 + Math.cos((Math.PI * (round - 1)) / rounds)) / 2 : 1;
  const learningRate = RATES[method] * share;
  Object.assign(model.optimizer, {learningRate}); // which tfjs declares protected
  const batches = seededBatches(images, labels, {batchSize: 25, seed: round});
  const {history} = await model.fitDataset(batches, {epochs: EPOCHS, verbose: 0});
  return (history.loss as number[]).at(-1)!;
}
