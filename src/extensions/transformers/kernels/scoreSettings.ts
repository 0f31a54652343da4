import * as tf from '@tensorflow/tfjs';
import {show} from '../../../platform/errors';

/** Settings of attention that change the scaled products of queries and keys. None is set by default. */
export interface ScoreSettings {
  /** A bound of the scaled products, `cap·tanh(products / cap)`, as in Gemma 2. Default: none. */
  softCap?: number | null;
}

interface Changed {
  products: tf.Tensor4D;
  gradient: (dy: tf.Tensor4D) => tf.Tensor4D;
}

/** What a setting accepts and computes. Each backend composes it of tfjs's operations, or has a kernel for it. */
interface ScoreSetting {
  fault(value: number): string | undefined;
  change(products: tf.Tensor4D, value: number): Changed;
}

const SCORE_SETTINGS: Readonly<Record<keyof ScoreSettings, ScoreSetting>> = {
  softCap: {
    fault: cap => (Number.isFinite(cap) && cap > 0 ? undefined : `must be a positive number, got ${show(cap)}`),
    change: (products, cap) => {
      const tanh = tf.tanh<tf.Tensor4D>(tf.div(products, cap));
      return {products: tf.mul(tanh, cap), gradient: dy => tf.mul(dy, tf.sub(1, tf.square(tanh)))};
    },
  },
};

function entriesOf(settings: ScoreSettings): [name: keyof ScoreSettings, value: number][] {
  const names = Object.keys(SCORE_SETTINGS) as (keyof ScoreSettings)[];
  return names.flatMap(name => (settings[name] == null ? [] : [[name, settings[name]]]));
}

/** Only the settings of the scores that are set, among others. */
export function scoreSettingsOf(settings: ScoreSettings): ScoreSettings {
  return Object.fromEntries(entriesOf(settings));
}

export function scoreFaults(settings: ScoreSettings): string[] {
  return entriesOf(settings).flatMap(([name, value]) => {
    const fault = SCORE_SETTINGS[name].fault(value);
    return fault === undefined ? [] : [`${name} ${fault}.`];
  });
}

export function computesScores(settings: ScoreSettings, names: readonly (keyof ScoreSettings)[]): boolean {
  return entriesOf(settings).every(([name]) => names.includes(name));
}

export function changeScores(products: tf.Tensor4D, settings: ScoreSettings): Changed {
  return entriesOf(settings).reduce<Changed>(
    (before, [name, value]) => {
      const after = SCORE_SETTINGS[name].change(before.products, value);
      return {products: after.products, gradient: dy => before.gradient(after.gradient(dy))};
    },
    {products, gradient: dy => dy},
  );
}
