import * as tf from '@tensorflow/tfjs';
import type {BenchCase} from './case';
import {layerNames, oneHot} from './tools';

const BATCH = 16;
const SIZE = 96;
const CLASSES = 9;

/** The parts of the model's JSON, as Keras 2.2.4 writes it, that have to be changed. */
interface Topology {
  model_config: {
    config: {
      layers: {name: string; config: {batch_input_shape?: (number | null)[]}}[];
      output_layers: [string, number, number][];
    };
  };
}

export const mobilenet: BenchCase = {
  title: (examples = BATCH) => `MobileNetV2 body at ${SIZE} px, batch ${examples}, rank 4 on every 1×1 convolution`,
  loss: 'categoricalCrossentropy',
  build: async () => {
    const body = await loadBody();
    const pooled = tf.layers.globalAveragePooling2d({}).apply(body.outputs);
    const head = tf.layers.dense({units: CLASSES, activation: 'softmax', name: 'head'});
    return tf.model({inputs: body.inputs, outputs: head.apply(pooled) as tf.SymbolicTensor});
  },
  batch: (examples = BATCH) => ({
    xs: tf.randomUniform([examples, SIZE, SIZE, 3], -1, 1),
    ys: oneHot(examples, CLASSES),
  }),
  targets: model => ({
    rank: 4,
    targets: layerNames(model, 'Conv2D').filter(name => {
      const {kernelSize} = model.getLayer(name).getConfig() as {kernelSize: number[]};
      return kernelSize.every(size => size === 1);
    }),
    trainInFull: ['head'],
  }),
};

/** The ImageNet-like body of the classifier that `nsfwjs` ships, of which nothing else is used, for small pictures. */
export async function loadBody(): Promise<tf.LayersModel> {
  const {MobileNetV2Model: source} = await import('nsfwjs/models/mobilenet_v2');
  const {modelTopology, weightsManifest} = (await source.modelJson()).default;
  // The module is the same for every call.
  const topology = structuredClone(modelTopology) as Topology;
  const {config} = topology.model_config;
  config.layers[0]!.config.batch_input_shape = [null, SIZE, SIZE, 3];
  const last = config.layers.findIndex(({name}) => name === 'out_relu');
  config.layers.length = last + 1;
  config.output_layers = [['out_relu', 0, 0]];

  const weights = Uint8Array.from(atob((await source.weightBundles[0]!()).default), sign => sign.charCodeAt(0));
  const artifacts = {
    modelTopology: topology,
    weightSpecs: weightsManifest.flatMap(group => group.weights),
    weightData: weights.buffer,
  };
  // Not strict: there are weights of a head that is cut off.
  return tf.loadLayersModel(tf.io.fromMemory(artifacts), {strict: false});
}
