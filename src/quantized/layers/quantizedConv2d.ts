import * as tf from '@tensorflow/tfjs';
import {channelsLast} from '../../layers/convolutions';
import {type Forward, onlyShape, onlyTensor} from '../../layers/forward';
import type {CallArgs} from '../../layers/layerArgs';
import {registerKind} from '../../layers/registry';
import {Prepared} from '../../ops/lazyOp';
import {fieldsOf} from '../../tfjs/fields';
import type {ConvLayer} from '../../tfjs/layerFields';
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

/** What a stock `Conv2D` holds before it is built. */
interface ConvFields extends Omit<ConvLayer, 'kernel'> {
  useBias: boolean;
  biasInitializer: ReturnType<typeof tf.initializers.zeros>;
}

/** Pixels are rows. */
const forward: Forward = (layer, x, call) => {
  const {rows} = (layer as BlockLayer).matrix;
  const {last, restore} = channelsLast(x, fieldsOf<ConvLayer>(layer));
  return denseOnBlocks(layer, last, call, y => restore(tf.reshape(y, [...last.shape.slice(0, -1), rows])));
};

/**
 * A `Conv2D` of size 1×1, without strides, whose kernel is held in blocks of few bits: a `QuantizedDense` of each
 * pixel. `quantizeBase` makes it of one.
 */
export class QuantizedConv2D extends stockClass('Conv2D') implements BlockLayer {
  static readonly className: string = 'QuantizedConv2D';
  blocks!: tf.LayerVariable;
  matrix!: BlockMatrix;
  readonly whyUntrained = IN_BLOCKS;
  private readonly format: BlockFormat;

  constructor(args: tf.serialization.ConfigDict & BlockArgs) {
    super(args);
    this.format = formatOf(args, this.name);
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const fields = fieldsOf<ConvFields>(this);
    const axis = fields.dataFormat === 'channelsFirst' ? 1 : 3;
    const width = onlyShape(inputShape)[axis] ?? 0;
    this.matrix = {format: this.format, rows: fields.filters, width};
    const zeros = tf.initializers.zeros();
    this.blocks = this.addWeight(BLOCKS, [wordCount(this.matrix)], 'int32', zeros, undefined, false);
    if (fields.useBias) {
      fields.bias = this.addWeight('bias', [fields.filters], 'float32', fields.biasInitializer);
    }
    this.inputSpec = [{ndim: 4, axes: {[axis]: width}}] as tf.layers.Layer['inputSpec'];
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
tf.serialization.registerClass(QuantizedConv2D);

/** A {@link QuantizedConv2D} with a low-rank update of its own. Merged, it is a `Conv2D`. */
export class LoRAQuantizedConv2D extends LoRABlockLayer {
  static readonly className = 'LoRAQuantizedConv2D';
  static readonly adaptation = blockAdaptation(
    'QuantizedConv2D',
    'kernel',
    {form: 'linear', forward},
    true,
    ({rows, width}) => [1, 1, width, rows],
  );
}
tf.serialization.registerClass(LoRAQuantizedConv2D);
registerKind(LoRAQuantizedConv2D);
