import * as tf from '@tensorflow/tfjs';
import {disposeModel} from 'tfjs-lora';
import {fromGraphModel} from 'tfjs-lora/graph';
import type {Drawings} from './emoji';
import type {Mail} from './mail';
import {makeCutter, type Vocabulary} from './pieces';
import type {Features, Task} from './story';

/** The settings of a task. */
export type Settings = Pick<Task, 'epochs' | 'rates' | 'batch' | 'seeds' | 'rank'>;

/** Where the classifier is cut. The blocks before the cut run once for each image. */
const LAST_FROZEN = 'sequential/keras_layer/predict/MobilenetV2/expanded_conv_14/add';
const BODY_END = 'sequential/keras_layer/predict/MobilenetV2/Conv_1/Relu6';

/** MobileNetV2 classifies emoji. The last blocks and a new head train. */
export async function emojiTask(
  graph: tf.GraphModel,
  {train, test}: {train: Drawings; test: Drawings},
  settings: Settings,
): Promise<Task> {
  const front = await fromGraphModel(graph, {outputs: [LAST_FROZEN]});
  const featuresOf = ({images, labels}: Drawings): Features => ({
    xs: [front.predict(images, {batchSize: 32}) as tf.Tensor],
    labels,
  });
  const [trained, tested] = [featuresOf(train), featuresOf(test)];
  disposeModel(front);
  const body = await fromGraphModel(graph, {
    inputs: [LAST_FROZEN],
    inputShapes: {[LAST_FROZEN]: trained.xs[0]!.shape.slice(1)},
    outputs: [BODY_END],
  });
  const pooling = () => [tf.layers.globalAveragePooling2d({name: 'pool'})];
  const predict = (whole: tf.GraphModel) =>
    Promise.resolve(
      tf.tidy(() => {
        const count = test.images.shape[0];
        const starts = Array.from({length: Math.ceil(count / 32)}, (_, i) => 32 * i);
        const parts = starts.map(start => tf.slice(test.images, start, Math.min(32, count - start)));
        return tf.concat(parts.map(part => whole.predict(part) as tf.Tensor2D));
      }),
    );
  return {graph, body, pooling, train: trained, test: tested, predict, ...settings};
}

/** Where USE-Lite is cut: after the operations on ragged lists, which no layer can compute. */
const ENCODER = 'module_apply_default/Encoder_en/KonaTransformer/Encode/';
const IDS = `${ENCODER}SparseToDense`;
const EMBEDDINGS = `${ENCODER}Scatter/ScatterNd`;

/** USE-Lite, a transformer with embeddings of 512 values, detects spam by its subject. */
export async function spamTask(
  graph: tf.GraphModel,
  vocabulary: Vocabulary,
  {train, test}: {train: Mail[]; test: Mail[]},
  settings: Settings,
): Promise<Task> {
  const cut = makeCutter(vocabulary);
  const run = async (whole: tf.GraphModel, mails: Mail[], outputs?: string[]) => {
    const inputs = sparse(mails.map(({text}) => cut(text).slice(0, LONGEST)));
    const results = [await whole.executeAsync(inputs, outputs)].flat();
    tf.dispose(inputs);
    return results;
  };
  const featuresOf = async (mails: Mail[]): Promise<Features> => {
    const labels = mails.map(({spam}) => (spam ? [0, 1] : [1, 0]));
    return {xs: await run(graph, mails, [IDS, EMBEDDINGS]), labels: tf.tensor2d(labels)};
  };
  const body = await fromGraphModel(graph, {
    inputs: [IDS, EMBEDDINGS],
    inputShapes: {[IDS]: [null], [EMBEDDINGS]: [null, 256]},
  });
  const [trained, tested] = [await featuresOf(train), await featuresOf(test)];
  const predict = async (whole: tf.GraphModel) => (await run(whole, test))[0] as tf.Tensor2D;
  return {graph, body, pooling: () => [], train: trained, test: tested, predict, ...settings};
}

/** Longer subjects are truncated, in tokens. */
const LONGEST = 12;

/** Token ids as the graph takes them: the index of each, and the id. */
function sparse(lists: number[][]): Record<'indices' | 'values', tf.Tensor> {
  const places = lists.flatMap((list, row) => list.map((_, column) => [row, column]));
  return {
    indices: tf.tensor2d(places, [places.length, 2], 'int32'),
    values: tf.tensor1d(lists.flat(), 'int32'),
  };
}
