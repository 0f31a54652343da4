import * as tf from '@tensorflow/tfjs';
import {
  adam,
  type Adapter,
  applyLoRA,
  compileModel,
  disposeModel,
  getAdapter,
  setAdapter,
  toSafetensors,
} from 'tfjs-lora';
import type {Pretrained} from '../../scripts/pretrained';
import type {Task} from './data';
import {accuracyOf, classifier, fit, LORA} from './learn';

/** The results of an adapter. */
export interface SharedRow {
  task: string;
  accuracy: number;
  kilobytes: number;
  /** The time to switch the model to the adapter. */
  milliseconds: number;
}

/** Trains an adapter for each task with one model in memory, and then switches between them. */
export async function shareOneEncoder(
  encoder: Pretrained,
  tasks: Task[],
  epochs: number,
): Promise<{rows: SharedRow[]; megabytes: number}> {
  // All tasks use the head of the one with the most classes.
  const base = await classifier(encoder, Math.max(...tasks.map(({classes}) => classes.length)), 1);
  const megabytes = tf.memory().numBytes / 1e6;
  const model = applyLoRA(base, {...LORA, trainInFull: ['classes']});
  const fresh = getAdapter(model);
  const adapters: Adapter[] = [];
  for (const task of tasks) {
    setAdapter(model, fresh);
    compileModel(model, {optimizer: adam({learningRate: 2e-3})});
    await fit(model, encoder, task.train, epochs, 1);
    adapters.push(getAdapter(model));
  }
  const rows: SharedRow[] = [];
  for (const [i, task] of tasks.entries()) {
    const adapter = adapters[i]!;
    const begin = performance.now();
    setAdapter(model, adapter);
    const milliseconds = performance.now() - begin;
    const {length} = await toSafetensors(adapter);
    rows.push({
      task: task.name,
      accuracy: accuracyOf(model, encoder, task.test),
      kilobytes: length / 1000,
      milliseconds,
    });
  }
  tf.dispose([fresh, ...adapters].map(({tensors}) => tensors));
  [model, base].forEach(disposeModel);
  return {rows, megabytes};
}
