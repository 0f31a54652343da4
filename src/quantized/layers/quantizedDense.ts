import * as tf from '@tensorflow/tfjs';
import {type Forward, onlyShape, onlyTensor} from '../../layers/forward';
import type {CallArgs} from '../../layers/layerArgs';
import {registerKind} from '../../layers/registry';
import {Prepared} from '../../ops/lazyOp';
import {fieldsOf} from '../../tfjs/fields';
import {stockClass} from '../../tfjs/stockClass';
import {type BlockMatrix, wordCount} from '../blockMatrix';
import type {BlockFormat} from '../formats';
import {
  blockAdaptation,
  type BlockArgs,
  type BlockLayer,
  BLOCKS,
  denseOnBlocks,
  formatOf,
  IN_BLOCKS,
  LoRABlockLayer,
} from './blockLayer';

/** What a stock `Dense` holds before it is built. */
interface DenseFields {
  units: number;
  useBias: boolean;
  bias: tf.LayerVariable | null;
  biasInitializer: ReturnType<typeof tf.initializers.zeros>;
}

const forward: Forward = (layer, x, call) => {
  const {rows} = (layer as BlockLayer).matrix;
  return denseOnBlocks(layer, x, call, y => tf.reshape(y, [...x.shape.slice(0, -1), rows]));
};

/**
 * A `Dense` whose kernel is held in blocks of few bits: `y = f(x·Wᵀ + b)`, with a row of `W` for each output. The
 * kernel never trains; the bias is as that of a `Dense`. `quantizeBase` makes it of one.
 */
export class QuantizedDense extends stockClass('Dense') implements BlockLayer {
  static readonly className: string = 'QuantizedDense';
  blocks!: tf.LayerVariable;
  matrix!: BlockMatrix;
  readonly whyUntrained = IN_BLOCKS;
  private readonly format: BlockFormat;

  constructor(args: tf.serialization.ConfigDict & BlockArgs) {
    super(args);
    this.format = formatOf(args, this.name);
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const fields = fieldsOf<DenseFields>(this);
    const width = onlyShape(inputShape).at(-1) ?? 0;
    this.matrix = {format: this.format, rows: fields.units, width};
    const zeros = tf.initializers.zeros();
    this.blocks = this.addWeight(BLOCKS, [wordCount(this.matrix)], 'int32', zeros, undefined, false);
    if (fields.useBias) {
      fields.bias = this.addWeight('bias', [fields.units], 'float32', fields.biasInitializer);
    }
    this.inputSpec = [{minNDim: 2, axes: {[-1]: width}}] as tf.layers.Layer['inputSpec'];
    this.built = true;
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      return forward(this, onlyTensor(inputs), {update: {}, prepared: new Prepared(), kwargs});
    });
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), blocks: {name: this.format.name}};
  }
}
tf.serialization.registerClass(QuantizedDense);

/** A {@link QuantizedDense} with a low-rank update of its own: `y = f(x·(Wᵀ + s·A·B) + b)`. Merged, it is a `Dense`. */
export class LoRAQuantizedDense extends LoRABlockLayer {
  static readonly className = 'LoRAQuantizedDense';
  static readonly adaptation = blockAdaptation(
    'QuantizedDense',
    'kernel',
    {form: 'linear', forward},
    true,
    ({rows, width}) => [width, rows],
  );
}
tf.serialization.registerClass(LoRAQuantizedDense);
registerKind(LoRAQuantizedDense);
