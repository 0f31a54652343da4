import * as tf from '@tensorflow/tfjs';
import {disposeModel, mergeLoRA, saveAdapter} from 'tfjs-lora';
import {toGraphModel} from 'tfjs-lora/graph';

/**
 * Saves what LoRA learned as a small file, and the whole graph with that baked in: a GraphModel like the one that it
 * came from.
 *
 * @returns the graph after it was in its file.
 */
export async function writeTuned(
  graph: tf.GraphModel,
  lora: tf.LayersModel,
  files: {adapter: tf.io.IOHandler; graph: tf.io.IOHandler},
): Promise<tf.GraphModel> {
  await saveAdapter(lora, files.adapter);
  const merged = mergeLoRA(lora);
  const tuned = await toGraphModel(merged, graph, {dtype: 'float16'});
  await tuned.save(files.graph);
  tuned.dispose();
  disposeModel(merged);
  return tf.loadGraphModel(files.graph);
}
