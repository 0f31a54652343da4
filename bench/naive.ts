import * as tf from '@tensorflow/tfjs';
import type {Targets} from './cases/case';

/** A layer as a model's JSON names it. */
export interface Entry {
  className: string;
  config: tf.serialization.ConfigDict;
}

interface NaiveArgs {
  name: string;
  batchInputShape?: tf.Shape;
  rank: number;
  layer: Entry;
}

/**
 * LoRA as it is written with the layers that tfjs has, for comparison: the stock layer, frozen by `trainable = false`,
 * beside two small trainable layers of the same kind.
 */
class NaiveLoRA extends tf.layers.Layer {
  static readonly className = 'NaiveLoRA';
  readonly base: tf.layers.Layer;
  private readonly down: tf.layers.Layer;
  private readonly up: tf.layers.Layer;
  private readonly activation: tf.layers.Layer;
  private readonly scaling: number;

  constructor({rank, layer, ...args}: NaiveArgs) {
    super(args);
    const {className, config} = layer;
    const activation = config.activation as 'linear';
    this.base = fromEntry({className, config: {...config, activation: 'linear'}});
    this.base.trainable = false;
    const up = {useBias: false, kernelInitializer: 'zeros'} as const;
    if (className === 'Dense') {
      this.down = tf.layers.dense({units: rank, useBias: false});
      this.up = tf.layers.dense({units: config.units as number, ...up});
    } else {
      const {kernelSize, strides, padding} = config as unknown as ConvConfig;
      this.down = tf.layers.conv2d({filters: rank, kernelSize, strides, padding, useBias: false});
      this.up = tf.layers.conv2d({filters: config.filters as number, kernelSize: 1, ...up});
    }
    this.activation = tf.layers.activation({activation});
    this.scaling = 1; // alpha = rank, which a layer like this multiplies by all the same
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    this.base.build(inputShape);
    this.down.build(inputShape);
    this.up.build(this.down.computeOutputShape(inputShape));
    super.build(inputShape);
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape | tf.Shape[] {
    return this.base.computeOutputShape(inputShape);
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    return tf.tidy(() => {
      const y = this.base.apply(inputs) as tf.Tensor;
      const low = this.up.apply(this.down.apply(inputs)) as tf.Tensor;
      return this.activation.apply(tf.add(y, tf.mul(low, this.scaling))) as tf.Tensor;
    });
  }

  override get trainableWeights(): tf.LayerVariable[] {
    return [...this.down.trainableWeights, ...this.up.trainableWeights];
  }

  override get nonTrainableWeights(): tf.LayerVariable[] {
    return this.base.weights;
  }
}
tf.serialization.registerClass(NaiveLoRA);

interface ConvConfig {
  kernelSize: [number, number];
  strides: [number, number];
  padding: 'valid' | 'same';
}

function fromEntry({className, config}: Entry): tf.layers.Layer {
  const [cls, fromConfig] = tf.serialization.SerializationMap.getMap().classNameMap[className]!;
  return fromConfig(cls, config) as tf.layers.Layer;
}

/** A layer in a model's JSON, which is spelt as Keras spells it. */
interface JSONLayer {
  class_name: string;
  config: {name: string; batch_input_shape?: unknown};
}

/** A copy of a model in which the named layers have an update, those of `trainable` train and all others are frozen. */
export function naiveLoRA(model: tf.LayersModel, targets: Targets): Promise<tf.LayersModel> {
  return withLayers(model, targets, NaiveLoRA.className, (layer, weights) =>
    (layer as NaiveLoRA).base.setWeights(weights),
  );
}

/**
 * A copy of a model with layers of a registered class in place of the named ones. Those of `trainable` train, and all
 * others are frozen.
 *
 * @param give gives such a layer the weights of the layer that it replaces.
 * @param frozenClass a class of wrappers for the frozen layers. Default: they stay stock layers with `trainable: false`.
 */
export async function withLayers(
  model: tf.LayersModel,
  {rank, targets, overrides = [], trainable = []}: Targets,
  className: string,
  give: (layer: tf.layers.Layer, weights: tf.Tensor[]) => void,
  frozenClass?: string,
): Promise<tf.LayersModel> {
  const json = model.toJSON(null, false) as unknown as {config: {layers: JSONLayer[]}};
  const layers = json.config.layers.map(layer => {
    const {name, batch_input_shape} = layer.config;
    const {class_name, config} = layer;
    if (!targets.includes(name)) {
      return frozenClass === undefined || trainable.includes(name) || class_name === 'InputLayer'
        ? layer
        : {...layer, class_name: frozenClass, config: {name, layer: {class_name, config}}};
    }
    return {
      ...layer,
      class_name: className,
      config: {
        name,
        ...(batch_input_shape !== undefined && {batch_input_shape}),
        rank: overrides.find(override => override.targets.includes(name))?.rank ?? rank,
        layer: {class_name, config},
      },
    };
  });
  const copy = await tf.models.modelFromJSON({
    modelTopology: {...json, config: {...json.config, layers}},
  } as unknown as tf.io.ModelJSON);
  for (const layer of copy.layers) {
    const weights = model.getLayer(layer.name).getWeights();
    if (targets.includes(layer.name)) {
      give(layer, weights);
    } else {
      const {baseLayer = layer} = layer as tf.layers.Layer & {baseLayer?: tf.layers.Layer};
      baseLayer.setWeights(weights);
      layer.trainable = trainable.includes(layer.name);
    }
  }
  return copy;
}
