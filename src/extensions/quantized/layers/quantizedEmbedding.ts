import * as tf from '@tensorflow/tfjs';
import type {LentTable} from '../../../core/layers/borrowingLayer';
import {type Forward, onlyShape, UNFUSED_IDENTITY} from '../../../core/layers/forward';
import {registerKind} from '../../../core/layers/registry';
import {fieldsOf} from '../../../platform/tfjs/fields';
import type {EmbeddingLayer} from '../../../platform/tfjs/layerFields';
import {blockLookUp, blockProduct, wholeMatrix} from '../ops/blockOps';
import {besideBlocks, blockAdaptation, blockClass, type BlockLayer, LoRABlockLayer} from './blockLayer';
import {registerOwn} from '../../../platform/tfjs/configs';

/** The fields of a stock `Embedding` before it is built. */
interface EmbeddingFields extends Pick<EmbeddingLayer, 'inputDim'> {
  outputDim: number;
}

const forward: Forward = (layer, x, {update: {factors, gain}}) => {
  const {blocks, matrix} = layer as BlockLayer;
  const kernel = blocks.read();
  const rows = tf.reshape(x.dtype === 'int32' ? x : tf.cast(x, 'int32'), [x.size, 1]);
  const weights = {kernel, bias: null, factors, gain};
  return tf.reshape(
    besideBlocks(blockLookUp(kernel, matrix))(rows, weights, UNFUSED_IDENTITY),
    onlyShape(layer.computeOutputShape(x.shape)) as number[],
  );
};

/**
 * An `Embedding` with a quantized table, which never trains. Made by `quantizeBase`.
 *
 * @experimental
 */
export class QuantizedEmbedding extends blockClass('Embedding', forward) {
  static readonly className: string = 'tfjs-lora/quantized>QuantizedEmbedding';
  static readonly nameInAdapters = 'Embedding';
  /** Read by tied output heads. */
  lentTable!: LentTable;

  override build(): void {
    const {inputDim, outputDim} = fieldsOf<EmbeddingFields>(this);
    this.addBlocks(inputDim, outputDim);
    const {blocks, matrix} = this;
    this.lentTable = {
      variable: blocks,
      shape: [inputDim, outputDim],
      numbers: () => wholeMatrix(blocks.read(), matrix),
      transposedProduct: () => blockProduct(blocks.read(), matrix),
    };
    this.built = true;
  }
}
registerOwn(QuantizedEmbedding);

/**
 * A {@link QuantizedEmbedding} with a low-rank update: `y = E[x] + s·A[x]·B`. Merges to an `Embedding`.
 *
 * @experimental
 */
export class LoRAQuantizedEmbedding extends LoRABlockLayer {
  static readonly className = 'tfjs-lora/quantized>LoRAQuantizedEmbedding';
  static readonly adaptation = blockAdaptation(
    QuantizedEmbedding.className,
    'embeddings',
    {form: 'lookUp', forward, zeroFactor: 'A'},
    false,
    ({rows, width}) => [rows, width],
  );
}
registerOwn(LoRAQuantizedEmbedding);
registerKind(LoRAQuantizedEmbedding);
