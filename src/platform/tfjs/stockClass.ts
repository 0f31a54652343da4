import * as tf from '@tensorflow/tfjs';

type LayerClass = (new (args: tf.serialization.ConfigDict) => tf.layers.Layer) &
  Pick<typeof tf.layers.Layer, 'fromConfig'>;

/** A class of tfjs's layers, to derive from. tfjs does not export them. */
export function stockClass(name: string): LayerClass {
  const [stock] = tf.serialization.SerializationMap.getMap().classNameMap[name] as [unknown, unknown];
  return stock as LayerClass;
}

/** The base class of layers. Bundlers leave this call out where nobody derives from it, and keep reading a property. */
export function layerClass(): typeof tf.layers.Layer {
  return tf.layers.Layer;
}
