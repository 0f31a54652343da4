import * as tf from '@tensorflow/tfjs';
import type {LoRAConfig} from 'tfjs-lora';
import {encodeExamples, loadTransformer, type TextExample} from 'tfjs-lora/transformers';
import type {Pretrained} from '../../scripts/pretrained';

/** Subject lines are truncated to as many tokens. */
export const ENCODED = {maxLength: 24, batchSize: 8};

/** Queries, values, both feed-forward layers, and the head, which trains in full. */
export const LORA: LoRAConfig = {
  rank: 8,
  targets: [/attention\/self\/(query|value)$/, /(intermediate|output)\/dense$/],
  trainInFull: ['classes'],
};

/** The encoder with mean pooling and a new head. */
export async function classifier({config, weights}: Pretrained, classes: number, seed = 1): Promise<tf.LayersModel> {
  const {model: encoder} = await loadTransformer({config, weights, pooling: 'mean', tokenizer: false});
  const kernelInitializer = tf.initializers.randomNormal({stddev: 0.02, seed});
  const head = tf.layers.dense({name: 'classes', units: classes, kernelInitializer});
  return tf.model({inputs: encoder.inputs, outputs: head.apply(encoder.outputs[0]!) as tf.SymbolicTensor});
}

/** The accuracy of a model, compiled with that metric, on held-out texts. */
export async function accuracyOf(
  model: tf.LayersModel,
  {tokenizer}: Pretrained,
  examples: readonly TextExample[],
): Promise<number> {
  const data = await encodeExamples(model, tokenizer, examples, {...ENCODED, batchSize: 64});
  const [loss, accuracy] = (await model.evaluateDataset(data, {})) as tf.Scalar[];
  const value = accuracy!.dataSync()[0]!;
  tf.dispose([loss!, accuracy!]);
  return value;
}
