import {Tokenizer} from '@huggingface/tokenizers';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-webgpu';
import {adam, adamW, applyLoRA, compileModel, type LoRAConfig} from 'tfjs-lora';
import {loraKernels} from '../../src/backends/loraKernels';
import {generate, loadGGUF} from 'tfjs-lora/language';
import {Attention, Gelu, loadTransformer, RMSNormalization} from 'tfjs-lora/transformers';
import type {Targets} from '../cases/case';
import {mlp} from '../cases/mlp';
import {layerNames, oneHot} from '../cases/tools';
import {LEARNING_RATE} from '../runs';
import {type GPT, GPTS, RANK, text} from './gpt';
import {type Launches, measure, watchDevice, watchTensors} from './meter';

const IMAGES = 2;
const CLASSES = 9;
/** Places of a text that SmolLM2 learns. The number of launches does not depend on it. */
const PLACES = 16;

/** A step that can be counted, and gives the loss if there is one. */
type Step = () => Promise<number>;

const CASES: Record<string, () => Promise<Step>> = {
  mlp: async () => {
    const model = adapted(await mlp.build(), mlp.targets);
    model.compile({optimizer: adam({learningRate: LEARNING_RATE}), loss: mlp.loss});
    const {xs, ys} = mlp.batch();
    return stepOf(model, xs, ys);
  },
  mobilenet: async () => {
    const body = await tf.loadLayersModel('/mobilenet/model.json', {strict: false});
    const pooled = tf.layers.globalAveragePooling2d({}).apply(body.outputs);
    const head = tf.layers.dense({units: CLASSES, activation: 'softmax', name: 'head'});
    const base = tf.model({inputs: body.inputs, outputs: head.apply(pooled) as tf.SymbolicTensor});
    const model = adapted(base, of => ({rank: 4, targets: pointwise(of), trainInFull: ['head']}));
    model.compile({optimizer: adam({learningRate: LEARNING_RATE}), loss: 'categoricalCrossentropy'});
    const [, ...size] = body.inputs[0]!.shape as [null, number, number, number];
    return stepOf(model, tf.randomUniform([IMAGES, ...size], -1, 1), oneHot(IMAGES, CLASSES));
  },
  smollm2: async () => {
    const {model} = await smollm2();
    const adapted = applyLoRA(model, {rank: RANK, targets: [/[qv]_proj$/]});
    compileModel(adapted, {optimizer: adamW({learningRate: LEARNING_RATE})});
    const ids = tf.randomUniform([1, PLACES], 1000, 20_000, 'int32', 1);
    return stepOf(adapted, [ids, tf.onesLike(ids)], ids);
  },
  'smollm2-token': async () => {
    const {model, tokenizer} = await smollm2();
    const pieces = generate(model, tokenizer, 'Once upon a time', {maxTokens: 64});
    await pieces.next();
    return async () => {
      await pieces.next();
      return NaN;
    };
  },
  resnet50: () => narrow('resnet50', {targets: [/convolution$/], trainInFull: [/^classifier/]}, 64),
  'swin-t': () => narrow('swin-t', {targets: [/(q_proj|v_proj)$/]}, 224),
  ...Object.fromEntries(Object.entries(GPTS).map(([name, gpt]) => [name, () => Promise.resolve(decoder(gpt))])),
};

function stepOf(model: tf.LayersModel, xs: tf.Tensor | tf.Tensor[], ys: tf.Tensor): Step {
  return async () => (await model.trainOnBatch(xs, ys)) as number;
}

/** A step of a model as deep as the real one and narrower, on square images of so many pixels. */
async function narrow(name: string, targets: Pick<LoRAConfig, 'targets' | 'trainInFull'>, pixels: number) {
  const {model} = await loadTransformer(`/${name}`);
  const adapted = applyLoRA(model, {rank: RANK, ...targets});
  compileModel(adapted, {optimizer: adam({learningRate: LEARNING_RATE})});
  return stepOf(adapted, tf.randomUniform([IMAGES, pixels, pixels, 3]), tf.tensor1d([0, 1]));
}

async function smollm2() {
  return loadGGUF(await fetch('/smollm2.gguf'), {Tokenizer});
}

function adapted(base: tf.LayersModel, targets: (model: tf.LayersModel) => Targets): tf.LayersModel {
  return applyLoRA(base, targets(base));
}

function pointwise(model: tf.LayersModel): string[] {
  return layerNames(model, 'Conv2D').filter(name => {
    const {kernelSize} = model.getLayer(name).getConfig() as {kernelSize: number[]};
    return kernelSize.every(size => size === 1);
  });
}

function decoder(gpt: GPT): Step {
  const {layers, heads, width, positions, batch, vocabulary} = gpt;
  const apply = (layer: tf.layers.Layer, ...inputs: tf.SymbolicTensor[]) =>
    layer.apply(inputs.length === 1 ? inputs[0]! : inputs) as tf.SymbolicTensor;
  const dense = (name: string, units: number) => tf.layers.dense({name, units, useBias: false});
  const ids = tf.input({shape: [positions], dtype: 'int32'});
  let x = apply(tf.layers.embedding({inputDim: vocabulary, outputDim: width, name: 'words'}), ids);
  for (let i = 0; i < layers; i++) {
    const first = apply(new RMSNormalization({name: `norm_${i}`}), x);
    const packed = apply(dense(`attention_${i}`, 3 * width), first);
    const attended = apply(new Attention({heads, causal: true, packed: true, rotary: {}, name: `heads_${i}`}), packed);
    const middle = apply(tf.layers.add(), x, apply(dense(`projection_${i}`, width), attended));
    const second = apply(new RMSNormalization({name: `middle_norm_${i}`}), middle);
    const wide = apply(new Gelu({approximate: true}), apply(dense(`wide_${i}`, 4 * width), second));
    x = apply(tf.layers.add(), middle, apply(dense(`narrow_${i}`, width), wide));
  }
  const logits = apply(dense('next', vocabulary), apply(new RMSNormalization({name: 'last_norm'}), x));
  const model = applyLoRA(tf.model({inputs: ids, outputs: logits}), {
    rank: RANK,
    targets: [/^(?:attention|projection|wide|narrow)_/],
  });
  compileModel(model, {optimizer: adamW({learningRate: LEARNING_RATE})});
  const read = text(gpt);
  const tensor = (values: Int32Array) => tf.tensor2d(values, [batch, positions], 'int32');
  return stepOf(model, tensor(read.ids), tensor(read.next));
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
  return measure(await CASES[name]!(), steps);
}

(window as unknown as {count: typeof count}).count = count;
