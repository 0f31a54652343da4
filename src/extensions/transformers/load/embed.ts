import * as tf from '@tensorflow/tfjs';
import {checkCount, checkOptions, LoRAError, misfitError, show, showShape} from '../../../platform/errors';
import {type CallOptions, checkCallOptions, stepsOf} from '../../../platform/signals';
import {checkModel} from '../../../platform/tfjs/checkModel';
import type {Head} from '../net/architecture';
import {hubClassOf, hubHeadOf, hubRecordOf, SENTENCE_WEIGHTS} from '../net/hubRecord';
import {outputActivation} from '../../../core/head/outputActivation';
import {type SentenceModules, sentenceModulesIn} from '../net/sentenceModules';
import {poolStates, type StatePooling, STATE_POOLINGS} from '../ops/poolStates';
import {shortestFirst} from './shortestFirst';
import {unitVectors, type VectorMaker, type Vectors, vectorsBy} from './sentenceVectors';
import {checkTexts, checkTokenizer, type EncodedTexts, encodeTexts, type TextInput, type Tokenizer} from './tokenizer';

/** Options of `embed`. */
export interface EmbedOptions extends CallOptions {
  /** How many texts are computed at a time. Default: 32. */
  batchSize?: number;
  /**
   * Longer texts are truncated to this many tokens. Default: as the folder of a sentence-transformer says, and the
   * length of the model's position embedding, if it has one.
   */
  maxLength?: number;
  /**
   * How the states of a text become one vector: their mean, the first or the last, their maximum, their sum divided by
   * the square root of their number, or their mean weighted by 1, 2, 3 and so on. Default: all that the folder of a
   * sentence-transformer says, or the mean. Refused for a model that returns vectors.
   */
  pooling?: StatePooling;
  /** Whether to scale each vector to length 1, so that dot products are cosines. Default: true. */
  normalize?: boolean;
}

/**
 * Computes an embedding for each text: the output of the model if that is one vector, or what its states become. A
 * model from the folder of a sentence-transformer has the pooling of `modules.json`, with the Dense modules and
 * normalizations after it, so that vectors are those of `SentenceTransformer.encode`; other models have the mean over
 * the text's tokens. Texts of similar length are computed together, so there is little padding.
 *
 * @param model from `loadTransformer`, adapted or not.
 * @param tokenizer the tokenizer of the model.
 * @param texts texts, or pairs of texts.
 * @param options the batch size, the maximum length, pooling, normalization, and progress.
 * @returns `[texts, width]`. Dispose of it after use.
 * @throws LoRAError `ERR_MISFIT` if the tokenizer or the output of the model does not match, such as a classifier's;
 *     `ERR_UNSUPPORTED` if the folder has modules that are not supported; `ERR_OPTION` if a text is not a string or an
 *     option is out of range; `ERR_ABORTED`.
 * @example
 *     const {model, tokenizer} = await loadTransformer('models/minilm', {pooling: 'mean'});
 *     const vectors = await embed(model, tokenizer, ['a film', 'a movie', 'a tree']); // [3, 384]
 *     const cosines = tf.matMul(vectors, vectors, false, true); // [3, 3]
 * @experimental
 */
export async function embed(
  model: tf.LayersModel,
  tokenizer: Pick<Tokenizer, 'encode' | 'get_vocab'>,
  texts: readonly TextInput[],
  options: EmbedOptions = {},
): Promise<tf.Tensor2D> {
  checkOptions(options, {
    ...{batchSize: true, maxLength: true, pooling: true, normalize: true, signal: true, onProgress: true},
  });
  checkCallOptions(options);
  checkModel(model);
  checkTokenizer(tokenizer);
  checkTexts(texts);
  const {batchSize = 32, pooling, normalize = true} = options;
  checkCount('batchSize', batchSize);
  if (pooling !== undefined && !STATE_POOLINGS.includes(pooling)) {
    throw new LoRAError(`pooling must be one of ${STATE_POOLINGS.map(show).join(', ')}, got ${show(pooling)}.`);
  }
  checkEmbeddingOutput(model, pooling);
  const modules = pooling === undefined ? modulesOf(model) : undefined;
  const {maxLength = modules?.maxLength} = options;
  const encoding = maxLength === undefined ? {} : {maxLength};
  const order = shortestFirst(texts);
  const step = stepsOf(options);
  const parts: tf.Tensor2D[] = [];
  const maker = makerFor(model, modules, pooling);
  try {
    for (let from = 0; from < Math.max(order.length, 1); from += batchSize) {
      await step({done: from, total: order.length, what: 'embedding texts'});
      const chosen = order.slice(from, from + batchSize).map(i => texts[i] as TextInput);
      parts.push(tf.tidy(() => embedded(model, maker.vectors, encodeTexts(model, tokenizer, chosen, encoding))));
    }
    await step({done: order.length, total: order.length, what: 'embedding texts'});
    return tf.tidy(() => {
      const sorted = parts.length === 1 ? (parts[0] as tf.Tensor2D) : tf.concat(parts, 0);
      const rows = new Int32Array(order.length);
      order.forEach((i, row) => (rows[i] = row));
      const vectors = tf.gather(sorted, tf.tensor1d(rows, 'int32'));
      return normalize ? unitVectors(vectors) : vectors;
    });
  } finally {
    tf.dispose([...parts, ...maker.tensors.values()]);
  }
}

/** Outputs of models of the hub that are vectors or states. */
const VECTORS: readonly (Head | undefined)[] = [undefined, 'none', 'projection'];

/** @throws LoRAError if the output of a model is not vectors or states, or needs no pooling. */
export function checkEmbeddingOutput(model: tf.LayersModel, pooling?: StatePooling): void {
  const [output] = model.outputs as [tf.SymbolicTensor];
  const rank = output.shape.length;
  if (rank !== 2 && rank !== 3) {
    throw misfitError(
      `The model returns ${showShape(output.shape)}. Embeddings need states, [texts, positions, width], or vectors, ` +
        '[texts, width].',
    );
  }
  const isClassifier = !VECTORS.includes(hubHeadOf(model));
  const end = outputActivation(output);
  if (isClassifier || end?.activation.toLowerCase() === 'softmax') {
    const what = isClassifier ? `the head of ${hubClassOf(model)}` : `the softmax of layer "${end?.layer}"`;
    throw misfitError(
      `The output of the model, ${showShape(output.shape)}, comes from ${what}, and is no embedding of a text. Load ` +
        "the body, loadTransformer(folder, {pooling: 'mean'}), or end the model before its head: tf.model({inputs: " +
        "model.inputs, outputs: model.getLayer('…').output}).",
    );
  }
  if (rank === 2 && pooling !== undefined) {
    throw new LoRAError(
      `pooling does not apply: the model returns vectors, ${showShape(output.shape)}. Load it without pooling, or ` +
        'leave the option out.',
    );
  }
}

/** The modules of the sentence-transformer from whose folder the model is, if its states are still the output. */
function modulesOf(model: tf.LayersModel): SentenceModules | undefined {
  const isBody = hubHeadOf(model) === 'none' && model.outputs[0]?.shape.length === 3;
  return isBody ? sentenceModulesIn(hubRecordOf(model)?.sentence) : undefined;
}

function makerFor(
  model: tf.LayersModel,
  modules: SentenceModules | undefined,
  pooling: StatePooling = 'mean',
): VectorMaker {
  return modules === undefined
    ? {vectors: (states, mask) => poolStates(states, mask, pooling), tensors: new Map()}
    : vectorsBy(modules, SENTENCE_WEIGHTS.get(hubRecordOf(model) ?? {}));
}

function embedded(model: tf.LayersModel, vectors: Vectors, {inputs, attentionMask}: EncodedTexts): tf.Tensor2D {
  const [states] = [model.predict(inputs, {batchSize: attentionMask.shape[0]})].flat() as [tf.Tensor];
  return states.rank === 2
    ? (states as tf.Tensor2D)
    : vectors(states as tf.Tensor3D, tf.cast(attentionMask, 'float32'));
}
