import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, seededBatches} from 'tfjs-lora';
import {type Digits, loadDigits, styled} from '../shared/digits';
import {accuracy, network, train} from '../shared/network';

// What the clients learn: digits that are turned by a quarter, of which each has mostly a few kinds.

export const CLIENTS = 4;

/** How the adapter is made, and how a client trains it in one round. */
export const RANK = 8;
const RATES = {lora: 6e-3, 'lora-fa': 2e-2};
const EPOCHS = 5;

/** Digits of each kind: the base learns from the first 200, the clients from the next 60, the rest is held out. */
const OF_BASE = 200;
const OF_CLIENTS = 60;
const HELD_OUT = 100;

/** A network that reads upright digits. It comes out the same each time. */
export async function pretrained(): Promise<tf.LayersModel> {
  const base = network(11);
  const digits = loadDigits(0, OF_BASE);
  await train(base, digits, {rate: 2e-3, epochs: 8});
  tf.dispose([digits.images, digits.labels]);
  return base;
}

export type Method = keyof typeof RATES;

export function adapt(base: tf.LayersModel, method: Method, seed: number): tf.LayersModel {
  const model = applyLoRA(base, {rank: RANK, alpha: 2 * RANK, method, seed});
  model.compile({optimizer: adam({learningRate: RATES[method]}), loss: 'categoricalCrossentropy'});
  return model;
}

/** The 1,000 digits that nobody trains on. */
export function heldOut(): Digits {
  return styled(loadDigits(OF_BASE + OF_CLIENTS, HELD_OUT), 'turned');
}

/** The digits of one client, or with `'all'` those of all of them. */
export function digitsOf(client: number | 'all', seed: number): Digits {
  const digits = styled(loadDigits(OF_BASE, OF_CLIENTS), 'turned');
  if (client === 'all') {
    return digits;
  }
  const mine = owners(seed).flatMap((owner, i) => (owner === client ? [i] : []));
  return tf.tidy(() => ({
    images: tf.gather(digits.images, mine),
    labels: tf.gather(digits.labels, mine),
  }));
}

/** Which client each digit belongs to: three of five go to the client whose kind it is, the others to any. */
function owners(seed: number): number[] {
  let state = seed + 1;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return Array.from({length: 10 * OF_CLIENTS}, (_, i) => {
    const kind = Math.floor(((i % 10) * CLIENTS) / 10);
    return random() < 0.6 ? kind : Math.floor(random() * CLIENTS);
  });
}

/** Trains for one round on a client's digits. */
export async function learn(model: tf.LayersModel, {images, labels}: Digits, seed: number): Promise<number> {
  const batches = seededBatches(images, labels, {batchSize: 25, seed});
  const {history} = await model.fitDataset(batches, {epochs: EPOCHS, verbose: 0});
  return (history.loss as number[]).at(-1)!;
}

export {accuracy};
