import * as tf from '@tensorflow/tfjs';
import {embeddingOp} from '../ops/embedding';
import {linear} from '../ops/linear';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {EmbeddingLayer} from '../../platform/tfjs/layerFields';
import type {Adaptation} from './adaptation';
import {type Forward, onlyShape, UNFUSED_IDENTITY} from './forward';
import {LoRALayer} from './loraLayer';
import {registerOwn} from '../../platform/tfjs/configs';

/** `Embedding`: row indices of any shape. */
const embeddingForward: Forward = (layer, x, {update}) => {
  const {factors, gain} = update;
  const kernel = update.kernel ?? fieldsOf<EmbeddingLayer>(layer).embeddings.read();
  const rows = tf.reshape(x.dtype === 'int32' ? x : tf.cast(x, 'int32'), [x.size, 1]);
  const trains = update.kernel !== undefined;
  const weights = {kernel, trains, bias: null, factors, gain};
  return tf.reshape(
    linear(embeddingOp, rows, weights, UNFUSED_IDENTITY),
    onlyShape(layer.computeOutputShape(x.shape)) as number[],
  );
};

/**
 * An `Embedding` layer with a low-rank update of its table: `y = E[x] + s·A[x]·B`. `A`, `[vocabulary, rank]`, is a
 * narrow table with the same rows, and `B`, `[rank, dim]`, maps its rows to embeddings.
 *
 * As in PEFT, `A` starts at zero and `B` random, from N(0, 1): rows of `A` that no batch has looked up stay at zero,
 * and their tokens unchanged. `initializer` is that of `B`.
 *
 * Dropout does not apply, as in PEFT: row indices cannot be dropped.
 *
 * Takes what the base takes, and masks what the base masks. Trains `rank · (vocabulary + dim)` parameters instead of
 * `vocabulary · dim`.
 */
export class LoRAEmbedding extends LoRALayer {
  static readonly className = 'tfjs-lora>LoRAEmbedding';
  /** @internal */
  static readonly adaptation: Adaptation = {
    baseClassName: 'Embedding',
    form: 'lookUp',
    forward: embeddingForward,
    weights: layer => [{name: 'embeddings', variable: fieldsOf<EmbeddingLayer>(layer).embeddings}],
    zeroFactor: 'A',
  };
}
registerOwn(LoRAEmbedding);
