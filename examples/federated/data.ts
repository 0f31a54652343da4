import * as tf from '@tensorflow/tfjs';
import {type Digits, loadDigits, styled} from '../shared/digits';
import {network, train} from '../shared/network';
import {OF_BASE, OF_CLIENTS, ownDigits} from './task';

/** A network that reads upright digits, trained reproducibly. */
export async function pretrained(): Promise<tf.LayersModel> {
  const base = network(11);
  const digits = loadDigits(0, OF_BASE);
  await train(base, digits, {rate: 2e-3, epochs: 8});
  tf.dispose([digits.images, digits.labels]);
  return base;
}

/** Held-out digits, `ofEach` of each kind. */
export function heldOut(ofEach = 100): Digits {
  return styled(loadDigits(OF_BASE + OF_CLIENTS, ofEach), 'rotated');
}

/** The digits of one client, or of all clients with `'all'`. */
export function digitsOf(client: number | 'all', seed: number): Digits {
  const digits = styled(loadDigits(OF_BASE, OF_CLIENTS), 'rotated');
  return client === 'all' ? digits : ownDigits(digits, client, seed);
}
