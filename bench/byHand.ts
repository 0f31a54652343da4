import * as tf from '@tensorflow/tfjs';
import {FrozenLayer} from 'tfjs-lora';
import {type Entry, withLayers} from './naive';
import type {Targets} from './cases/case';

interface HandLoRAArgs {
  name: string;
  batchInputShape?: tf.Shape;
  rank: number;
  layer: Entry;
}

/**
 * LoRA as someone writes it who knows tfjs: its operations, unfused, so that no gradient of the frozen kernel is
 * computed. `call` is the whole layer; the rest is what any layer has.
 */
class HandLoRA extends tf.layers.Layer {
  static readonly className = 'HandLoRA';
  private readonly settings: Entry;
  private readonly rank: number;
  private kernel!: tf.LayerVariable;
  private bias!: tf.LayerVariable;
  private a!: tf.LayerVariable;
  private b!: tf.LayerVariable;
  private activation!: tf.layers.Layer;

  constructor({rank, layer, ...args}: HandLoRAArgs) {
    super(args);
    this.settings = layer;
    this.rank = rank;
  }

  override build(inputShape: tf.Shape): void {
    const {kernelSize = [], units, filters, activation} = this.settings.config as unknown as Settings;
    const fanIn = [...kernelSize, inputShape.at(-1)!];
    const out = units ?? filters!;
    const {zeros, glorotUniform} = tf.initializers;
    this.kernel = this.addWeight('kernel', [...fanIn, out], 'float32', zeros(), undefined, false);
    this.bias = this.addWeight('bias', [out], 'float32', zeros(), undefined, false);
    this.a = this.addWeight('a', [...fanIn, this.rank], 'float32', glorotUniform({}));
    this.b = this.addWeight('b', [...kernelSize.map(() => 1), this.rank, out], 'float32', zeros());
    this.activation = tf.layers.activation({activation});
    this.built = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape | tf.Shape[] {
    return stockLayer(this.settings).computeOutputShape(inputShape);
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    return tf.tidy(() => {
      const input = [inputs].flat()[0] as tf.Tensor4D;
      // The gradient of tfjs's product of a stack with a matrix has the wrong shape.
      const x = input.rank === 3 ? tf.reshape(input, [-1, input.shape.at(-1)!]) : input;
      const {strides, padding} = this.settings.config as unknown as Settings;
      const times = (y: tf.Tensor, w: tf.LayerVariable, isFirst: boolean) =>
        padding === undefined
          ? tf.matMul(y, w.read())
          : tf.conv2d(y as tf.Tensor4D, w.read() as tf.Tensor4D, isFirst ? strides! : 1, isFirst ? padding : 'same');
      const low = times(times(x, this.a, true), this.b, false);
      const scaling = 1; // alpha = rank, which a layer like this multiplies by all the same
      const y = tf.add(times(x, this.kernel, true), tf.mul(low, scaling));
      const biased = tf.add(y, this.bias.read());
      const shape = [...input.shape.slice(0, -1), y.shape.at(-1)!];
      return this.activation.apply(input.rank === 3 ? tf.reshape(biased, shape) : biased) as tf.Tensor;
    });
  }
}
tf.serialization.registerClass(HandLoRA);

/** What the layer reads of a Dense's or a Conv2D's config. */
interface Settings {
  units?: number;
  filters?: number;
  kernelSize?: number[];
  strides?: [number, number];
  padding?: 'valid' | 'same';
  activation: 'linear';
}

function stockLayer({className, config}: Entry): tf.layers.Layer {
  const [cls, fromConfig] = tf.serialization.SerializationMap.getMap().classNameMap[className]!;
  return fromConfig(cls, structuredClone(config)) as tf.layers.Layer;
}

/**
 * A copy of a model in which the named layers are written by hand and those of `trainable` train. The library freezes
 * all others, so that only the adapted layers differ from those of `applyLoRA`.
 */
export function handLoRA(model: tf.LayersModel, targets: Targets): Promise<tf.LayersModel> {
  const give = (layer: tf.layers.Layer, [kernel, bias]: tf.Tensor[]) => {
    const fields = layer as unknown as Record<'kernel' | 'bias', tf.LayerVariable>;
    fields.kernel.write(kernel!);
    if (bias !== undefined) {
      fields.bias.write(bias);
    }
  };
  return withLayers(model, targets, HandLoRA.className, give, FrozenLayer.className);
}
