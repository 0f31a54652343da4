import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, loadAdapter, mergeLoRA} from 'tfjs-lora';
import {fromGraphModel} from 'tfjs-lora/graph';
import {SIDE} from './looks';
import {OUTPUTS} from './learn';

/** How many frames per second a model processes. */
export interface Speed {
  name: string;
  perSecond: number;
  /** Relative to the imported base. */
  share: number;
}

/** Measures the models in turn, so that other programs on the machine affect all of them alike. */
export async function framesPerSecond(
  base: tf.io.IOHandler,
  {adapter, graph, rounds}: {adapter: tf.io.IOHandler; graph: tf.io.IOHandler; rounds: number},
): Promise<Speed[]> {
  const [published, tuned] = [await tf.loadGraphModel(base), await tf.loadGraphModel(graph)];
  const imported = await fromGraphModel(published, {outputs: Object.values(OUTPUTS)});
  const update = await loadAdapter(adapter);
  const adapted = applyLoRA(imported, update);
  const merged = mergeLoRA(adapted);
  const frame = tf.randomUniform([1, SIDE, SIDE, 3], 0, 1, 'float32', 1);
  const outputs = Object.values(OUTPUTS);
  const models: [string, () => tf.Tensor[]][] = [
    ['base model, imported', () => imported.predict(frame) as tf.Tensor[]],
    ['adapted', () => adapted.predict(frame) as tf.Tensor[]],
    ['merged', () => merged.predict(frame) as tf.Tensor[]],
    ['original graph', () => published.execute(frame, outputs) as tf.Tensor[]],
    ['graph written back', () => tuned.execute(frame, outputs) as tf.Tensor[]],
  ];
  const times = models.map((): number[] => []);
  for (let round = -3; round < rounds; round++) {
    models.forEach(([, look], i) => {
      const begin = performance.now();
      tf.tidy(() => look().forEach(answer => answer.dataSync()));
      if (round >= 0) {
        times[i]!.push(performance.now() - begin); // the first few warm up
      }
    });
  }
  [imported, adapted, merged].forEach(disposeModel);
  [published, tuned, update].forEach(each => each.dispose());
  frame.dispose();
  const medians = times.map(each => each.sort((one, other) => one - other)[Math.floor(each.length / 2)]!);
  return models.map(([name], i) => ({name, perSecond: 1000 / medians[i]!, share: medians[0]! / medians[i]!}));
}
