import type {Clock} from '../measure';
import type {Split} from './parts';

/** What the process can run. */
export const RUNS = [
  'MLP, step',
  'conv net, step',
  'conv net, predict',
  'MobileNetV2, step',
  'transformer block, step',
  'block of our layers, step',
  'SmolLM2-135M, step',
  'SmolLM2-135M, token',
] as const;
export type RunName = (typeof RUNS)[number];

/** What the process is asked for: times of a run, of its parts for so many threads, or its idle processor time. */
export type Order =
  | {run: RunName; repeats: number}
  | {run: RunName; repeats: number; split: number; clock: Clock}
  | {idleSeconds: number};

/** Milliseconds of a run, or of the processor while idle. */
export type Answer = {ready: true} | {ms: number} | {split: Split} | {error: string};
