import * as tf from '@tensorflow/tfjs';
import {type EmbeddingLayer, fieldsOf} from '../tfjs/fields';
import type {Adaptation} from './adaptation';
import {embeddingForward} from './forward';
import {LoRAKernelLayer} from './loraKernelLayer';
import type {LoRALayerArgs} from './loraLayer';

/**
 * An `Embedding` layer with a low-rank update of its table: `y = E[x] + s·A[x]·B`. `A`, `[vocabulary, rank]`, is a narrow table of the same
 * rows, and `B`, `[rank, dim]`, makes an embedding of one of its rows.
 *
 * As in PEFT it is `A` that starts at zero, and `B` that starts random, from N(0, 1): rows of `A` that no batch has looked up stay at zero,
 * and their words as they were. `initializer` is that of `B`.
 *
 * Takes what the base takes, and masks what the base masks. Trains `rank · (vocabulary + dim)` numbers instead of `vocabulary · dim`.
 */
export class LoRAEmbedding extends LoRAKernelLayer {
  static readonly className = 'LoRAEmbedding';
  static readonly adaptation: Adaptation = {
    baseClassName: 'Embedding',
    weights: layer => [{name: 'embeddings', variable: fieldsOf<EmbeddingLayer>(layer).embeddings}],
    zeroFactor: 'A',
  };

  constructor(args: LoRALayerArgs) {
    super(args, LoRAEmbedding.adaptation, embeddingForward);
  }
}
tf.serialization.registerClass(LoRAEmbedding);

/** Makes a {@link LoRAEmbedding}. */
export function loraEmbedding(args: LoRALayerArgs): LoRAEmbedding {
  return new LoRAEmbedding(args);
}
