import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-webgpu';
import {adam, adamW, applyLoRA, loraKernels} from 'tfjs-lora';
import {Attention, compileCrossEntropy, Gelu, RMSNormalization} from 'tfjs-lora/transformers';
import type {Targets} from '../cases/case';
import {mlp} from '../cases/mlp';
import {layerNames, oneHot} from '../cases/tools';
import {LEARNING_RATE} from '../runs';
import {type GPT, GPTS, RANK, text} from './gpt';
import {type Launches, measure, watchDevice, watchTensors} from './meter';

const IMAGES = 2;
const CLASSES = 9;

/** A model that is ready to train, and a batch. */
interface Ready {
  model: tf.LayersModel;
  xs: tf.Tensor;
  ys: tf.Tensor;
}

const CASES: Record<string, () => Promise<Ready>> = {
  mlp: async () => {
    const model = adapted(await mlp.build(), mlp.targets);
    model.compile({optimizer: adam({learningRate: LEARNING_RATE}), loss: mlp.loss});
    return {model, ...mlp.batch()};
  },
  mobilenet: async () => {
    const body = await tf.loadLayersModel('/mobilenet/model.json', {strict: false});
    const pooled = tf.layers.globalAveragePooling2d({}).apply(body.outputs);
    const head = tf.layers.dense({units: CLASSES, activation: 'softmax', name: 'head'});
    const base = tf.model({inputs: body.inputs, outputs: head.apply(pooled) as tf.SymbolicTensor});
    const model = adapted(base, of => ({rank: 4, targets: pointwise(of), trainable: ['head']}));
    model.compile({optimizer: adam({learningRate: LEARNING_RATE}), loss: 'categoricalCrossentropy'});
    const [, ...size] = body.inputs[0]!.shape as [null, number, number, number];
    return {model, xs: tf.randomUniform([IMAGES, ...size], -1, 1), ys: oneHot(IMAGES, CLASSES)};
  },
  ...Object.fromEntries(Object.entries(GPTS).map(([name, gpt]) => [name, () => Promise.resolve(decoder(gpt))])),
};

function adapted(base: tf.LayersModel, targets: (model: tf.LayersModel) => Targets): tf.LayersModel {
  return applyLoRA(base, targets(base));
}

function pointwise(model: tf.LayersModel): string[] {
  return layerNames(model, 'Conv2D').filter(name => {
    const {kernelSize} = model.getLayer(name).getConfig() as {kernelSize: number[]};
    return kernelSize.every(size => size === 1);
  });
}

function decoder(gpt: GPT): Ready {
  const {layers, heads, width, places, batch, words} = gpt;
  const apply = (layer: tf.layers.Layer, ...inputs: tf.SymbolicTensor[]) =>
    layer.apply(inputs.length === 1 ? inputs[0]! : inputs) as tf.SymbolicTensor;
  const dense = (name: string, units: number) => tf.layers.dense({name, units, useBias: false});
  const ids = tf.input({shape: [places], dtype: 'int32'});
  let x = apply(tf.layers.embedding({inputDim: words, outputDim: width, name: 'words'}), ids);
  for (let i = 0; i < layers; i++) {
    const first = apply(new RMSNormalization({name: `norm_${i}`}), x);
    const packed = apply(dense(`attention_${i}`, 3 * width), first);
    const attended = apply(new Attention({heads, causal: true, packed: true, rotary: {}, name: `heads_${i}`}), packed);
    const middle = apply(tf.layers.add(), x, apply(dense(`projection_${i}`, width), attended));
    const second = apply(new RMSNormalization({name: `middle_norm_${i}`}), middle);
    const wide = apply(new Gelu({approximate: true}), apply(dense(`wide_${i}`, 4 * width), second));
    x = apply(tf.layers.add(), middle, apply(dense(`narrow_${i}`, width), wide));
  }
  const logits = apply(dense('next', words), apply(new RMSNormalization({name: 'last_norm'}), x));
  const model = applyLoRA(tf.model({inputs: ids, outputs: logits}), {
    rank: RANK,
    targets: [/^(?:attention|projection|wide|narrow)_/],
  });
  compileCrossEntropy(model, {optimizer: adamW({learningRate: LEARNING_RATE})});
  const read = text(gpt);
  return {
    model,
    xs: tf.tensor2d(read.ids, [batch, places], 'int32'),
    ys: tf.tensor2d(read.next, [batch, places], 'int32'),
  };
}

async function count(backend: string, name: string, steps: number): Promise<Launches> {
  watchDevice();
  tf.enableProdMode();
  if (!(await tf.setBackend(backend))) {
    throw new Error(`There is no backend ${backend}.`);
  }
  // Our programs are loaded and tried out first.
  for (const end = Date.now() + 10_000; loraKernels() !== 'programs' && Date.now() < end;) {
    await new Promise(resolve => setTimeout(resolve, 10));
  }
  watchTensors();
  const {model, xs, ys} = await CASES[name]!();
  return measure(async () => (await model.trainOnBatch(xs, ys)) as number, steps);
}

(window as unknown as {count: typeof count}).count = count;
