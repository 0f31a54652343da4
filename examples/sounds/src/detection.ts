import type * as tf from '@tensorflow/tfjs';
import {compareEvents, type Sound, type SoundEvent} from 'tfjs-lora/sound';
import {RATE} from '../clips';
import {type Clips, detectIn, HOP, scoresIn} from '../learn';

/** When a score is an event. */
export interface Detection {
  threshold: number;
  /** In seconds. */
  coolDown: number;
}

const TRIED = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98];

/**
 * Chooses the threshold with the fewest missed words and false alarms, the lowest of several, in a stream of clips that
 * were not trained on: each word between two seconds of background. The cool-down is the longest time that a word stays
 * detected.
 */
export function chooseDetection(
  model: tf.LayersModel,
  {clips, labels}: Clips,
  classes: readonly string[],
  background: number,
): Detection {
  const rooms = clips.filter((_, i) => labels[i] === background);
  const words = clips.flatMap((clip, i) => (labels[i] === background ? [] : [{clip, label: labels[i]!}]));
  const parts = words.flatMap(({clip}, i) => [rooms[i % rooms.length]!, clip]);
  const scores = scoresIn(model, joined([...parts, rooms[words.length % rooms.length]!]));
  const known: SoundEvent[] = words.map(({label}, i) => ({time: 2 * i + 1, label: classes[label]!}));
  const faults = TRIED.map(threshold => {
    const {recall, falseAlarms} = compareEvents(detectIn(scores, classes, threshold), known, {tolerance: 0.75});
    return known.length * (1 - recall) + falseAlarms;
  });
  const threshold = TRIED[faults.indexOf(Math.min(...faults))]!;
  const spans = words.map(({label}, i) => {
    const first = Math.round((2 * i) / HOP); // the window a second before the word
    const rows = scores.slice(first, first + Math.round(2 / HOP) + 1);
    const isIt = rows.map(row => row[label]! >= threshold);
    return (isIt.lastIndexOf(true) - isIt.indexOf(true)) * HOP;
  });
  return {threshold, coolDown: Math.max(...spans) + 2 * HOP};
}

/** One sound after the other. */
function joined(sounds: readonly Sound[]): Sound {
  const samples = new Float32Array(sounds.length * RATE);
  sounds.forEach((sound, i) => samples.set(sound.samples, i * RATE));
  return {samples, sampleRate: RATE};
}
