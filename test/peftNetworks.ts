import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';

/** A tensor as the fixtures have it, in PyTorch's layout. */
export interface Stored {
  shape: number[];
  data: number[];
}

/** What PEFT computed with an adapter. */
export interface Expected {
  y: Stored;
  y_merged?: Stored;
  /** The weights after `merge_and_unload`; of the larger network those that differ from the base's. */
  merged?: Record<string, Stored>;
}

/** A network of the fixtures, rebuilt in tfjs from the weights that PyTorch had. */
export interface Network {
  model: tf.LayersModel;
  inputs: tf.Tensor[];
  /** What PyTorch computes without an adapter. */
  y: number[];
  /** The weight of the model, in PyTorch's layout, that PyTorch calls by this name. */
  torchWeight: (model: tf.LayersModel, name: string) => number[];
  /** PyTorch's names of the weights that `torchWeight` gives: all but those of grouped convolutions. */
  torchNames: string[];
}

/** Both jest and npm run in the folder of the package. */
const FOLDER = join('test', 'fixtures', 'peft');

export function readText(...path: string[]): string {
  return readFileSync(join(FOLDER, ...path), 'utf8');
}

/** The files of an adapter of the fixtures. */
export function peftFiles(...folder: string[]): {config: string; weights: Uint8Array} {
  return {
    config: readText(...folder, 'adapter_config.json'),
    weights: new Uint8Array(readFileSync(join(FOLDER, ...folder, 'adapter_model.safetensors'))),
  };
}

export function expectedOf(...folder: string[]): Expected {
  const expected = JSON.parse(readText(...folder, 'expected.json')) as Record<string, unknown>;
  const stored = (value: unknown) =>
    Array.isArray(value) ? {shape: [value.length], data: value.flat(2) as number[]} : (value as Stored);
  return {...expected, y: stored(expected.y), ...('y_merged' in expected && {y_merged: stored(expected.y_merged)})};
}

function tensorOf({shape, data}: Stored): tf.Tensor {
  return tf.tensor(data, shape);
}

/** PyTorch's `[n, c, ...space]` as `[n, ...space, c]`. */
function channelsLast(stored: Stored): tf.Tensor {
  const space = stored.shape.slice(2).map((_, i) => i + 2);
  return tf.tidy(() => tf.transpose(tensorOf(stored), [0, ...space, 1]));
}

type Layout = 'kernel' | 'embeddings' | 'plain' | 'transposed' | 'depthwise' | 'grouped';

/** From PyTorch's layout to tfjs's. */
function toTfjs(stored: Stored, layout: Layout, groups = 1): tf.Tensor {
  return tf.tidy(() => {
    const weight = tensorOf(stored);
    const space = stored.shape.slice(2).map((_, i) => i + 2);
    switch (layout) {
      case 'kernel':
        return tf.transpose(weight, [...space, 1, 0]);
      case 'depthwise': {
        const [out = 1, , kh = 1, kw = 1] = stored.shape;
        return tf.transpose(tf.reshape(weight, [groups, out / groups, kh, kw]), [2, 3, 0, 1]);
      }
      case 'grouped': {
        // Zero between the groups, in plain loops.
        const [out = 1, within = 1, kh = 1, kw = 1] = stored.shape;
        const full = tf.buffer([kh, kw, within * groups, out]);
        stored.data.forEach((value, i) => {
          const [w, h, c, o] = [
            i % kw,
            Math.floor(i / kw) % kh,
            Math.floor(i / (kw * kh)) % within,
            Math.floor(i / (kw * kh * within)),
          ];
          full.set(value, h, w, Math.floor(o / (out / groups)) * within + c, o);
        });
        return full.toTensor();
      }
      default:
        return weight;
    }
  });
}

/** Back again, for the weights that PEFT can merge. */
function toTorch(weight: tf.Tensor, layout: Layout): number[] {
  return tf.tidy(() => {
    const [last, before] = [weight.rank - 1, weight.rank - 2];
    const space = weight.shape.slice(0, -2).map((_, i) => i);
    if (layout === 'kernel') {
      return Array.from(tf.transpose(weight, [last, before, ...space]).dataSync());
    }
    if (layout === 'depthwise') {
      return Array.from(tf.transpose(weight, [2, 3, 0, 1]).dataSync());
    }
    return Array.from(weight.dataSync());
  });
}

/** How PyTorch calls the weights of a tfjs layer, in the order of `getWeights`. */
type Names = readonly (readonly [torchName: string, layout: Layout, groups?: number])[];

function network(
  model: tf.LayersModel,
  names: Readonly<Record<string, Names>>,
  weights: Record<string, Stored>,
  rest: Pick<Network, 'inputs' | 'y'>,
): Network {
  for (const [layer, entries] of Object.entries(names)) {
    const values = entries.map(([name, layout, groups]) => toTfjs(weights[name]!, layout, groups));
    model.getLayer(layer).setWeights(values);
    tf.dispose(values);
  }
  const torchWeight = (of: tf.LayersModel, name: string) => {
    const [layer, entries] = Object.entries(names).find(([, row]) => row.some(([each]) => each === name))!;
    const place = entries.findIndex(([each]) => each === name);
    return toTorch(of.getLayer(layer).getWeights()[place]!, entries[place]![1]);
  };
  const torchNames = Object.values(names)
    .flat()
    .filter(([, layout]) => layout !== 'grouped')
    .map(([name]) => name);
  return {model, torchWeight, torchNames, ...rest};
}

function affine(torchName: string, layout: Layout = 'kernel', groups?: number): Names {
  return [
    [`${torchName}.weight`, layout, groups],
    [`${torchName}.bias`, 'plain'],
  ];
}

/**
 * The network of the fixtures lora, rslora, modules_to_save and bias_lora_only. Its layers are called as its modules.
 */
export function smallNetwork(): Network {
  const base = JSON.parse(readText('base.json')) as {
    weights: Record<string, Stored>;
    img: Stored;
    ids: number[][];
    y_base: number[][];
  };
  const {layers} = tf;
  const image = tf.input({shape: [8, 8, 3]});
  const ids = tf.input({shape: [4]});
  let x = layers.conv2d({filters: 6, kernelSize: 3, activation: 'relu', name: 'conv1'}).apply(image);
  x = layers.conv2d({filters: 8, kernelSize: [3, 2], strides: 2, activation: 'relu', name: 'conv2'}).apply(x);
  x = layers.globalAveragePooling2d({}).apply(x);
  const features = layers.dense({units: 5, activation: 'tanh', name: 'fc1'}).apply(x) as tf.SymbolicTensor;
  const words = layers.embedding({inputDim: 11, outputDim: 5, name: 'emb'}).apply(ids);
  const sum = layers.add().apply([features, layers.globalAveragePooling1d().apply(words) as tf.SymbolicTensor]);
  const y = layers.dense({units: 4, name: 'head'}).apply(sum) as tf.SymbolicTensor;
  const model = tf.model({inputs: [image, ids], outputs: y});
  const names = {
    conv1: affine('conv1'),
    conv2: affine('conv2'),
    fc1: affine('fc1'),
    emb: [['emb.weight', 'embeddings']],
    head: affine('head'),
  } as const;
  const inputs = [channelsLast(base.img), tf.tensor2d(base.ids)];
  return network(model, names, base.weights, {inputs, y: base.y_base.flat()});
}

/** Which layer is which module of the larger network. */
export const KEY_MAP = {
  'encoder.layer.*.attention.*': 'layer_*_*',
  'encoder.layer.*.norm': 'layer_*_norm',
  'head.0': 'head_hidden',
  'head.2': 'head_out',
};

/**
 * The network of the fixtures under `made`.
 *
 * @param depthwise whether its depthwise convolution is one in tfjs too, or a full one with zeros between the channels.
 */
export function largeNetwork(depthwise: boolean): Network {
  const base = JSON.parse(readText('made', 'base.json')) as {
    weights: Record<string, Stored>;
    inputs: Record<'tokens' | 'image' | 'film', Stored>;
    y: Stored;
  };
  const {layers} = tf;
  const [tokens, image, film] = [[7], [7, 6, 3], [4, 5, 4, 2]].map(shape => tf.input({shape})) as [
    tf.SymbolicTensor,
    tf.SymbolicTensor,
    tf.SymbolicTensor,
  ];
  const on = (x: tf.SymbolicTensor, ...steps: tf.layers.Layer[]): tf.SymbolicTensor =>
    steps.reduce((value, layer) => layer.apply(value) as tf.SymbolicTensor, x);
  const act = (activation: 'tanh' | 'relu' | 'sigmoid') => layers.activation({activation});
  const dense = (units: number, name: string, useBias = true) => layers.dense({units, name, useBias});

  let x = on(tokens, layers.embedding({inputDim: 13, outputDim: 6, name: 'tokens'}));
  for (const block of [0, 1]) {
    const name = (part: string) => `layer_${block}_${part}`;
    const query = on(x, dense(4, name('query')), act('tanh'));
    const key = on(x, dense(4, name('key'), false), act('sigmoid'));
    const gated = layers.multiply().apply([query, key]) as tf.SymbolicTensor;
    const mixed = layers.add().apply([gated, on(x, dense(4, name('value')))]) as tf.SymbolicTensor;
    const attended = layers.add().apply([x, on(mixed, dense(6, name('out')))]) as tf.SymbolicTensor;
    x = on(attended, layers.layerNormalization({epsilon: 1e-5, name: name('norm')}));
  }
  const mean = () => layers.globalAveragePooling1d();
  const line = on(x, layers.conv1d({filters: 5, kernelSize: 3, name: 'line'}), act('tanh'), mean());
  const perChannel = depthwise
    ? layers.depthwiseConv2d({kernelSize: [3, 2], depthMultiplier: 2, name: 'depthwise'})
    : layers.conv2d({filters: 6, kernelSize: [3, 2], name: 'depthwise'});
  const pixels = on(
    image,
    perChannel,
    act('tanh'),
    layers.conv2d({filters: 4, kernelSize: 2, useBias: false, name: 'grouped'}),
    layers.batchNormalization({epsilon: 1e-5, name: 'batch'}),
    act('relu'),
    layers.globalAveragePooling2d({}),
  );
  const points = on(
    image,
    layers.conv2d({filters: 7, kernelSize: 1, strides: [2, 1], name: 'pointwise'}),
    act('relu'),
    layers.globalAveragePooling2d({}),
  );
  const volume = on(
    film,
    layers.conv3d({filters: 3, kernelSize: [2, 3, 2], name: 'volume'}),
    act('tanh'),
    layers.reshape({targetShape: [27, 3]}),
    mean(),
  );
  const joined = layers.concatenate().apply([line, pixels, points, volume]) as tf.SymbolicTensor;
  const y = on(joined, dense(8, 'mix'), act('tanh'), dense(5, 'head_hidden'), act('tanh'), dense(3, 'head_out'));
  const model = tf.model({inputs: [tokens, image, film], outputs: y});

  const blocks = [0, 1].flatMap(block => {
    const [torch, name] = [`encoder.layer.${block}`, `layer_${block}`];
    return [
      ...['query', 'value', 'out'].map(part => [`${name}_${part}`, affine(`${torch}.attention.${part}`)] as const),
      [`${name}_key`, [[`${torch}.attention.key.weight`, 'kernel']]] as const,
      [`${name}_norm`, affine(`${torch}.norm`, 'plain')] as const,
    ];
  });
  const names: Record<string, Names> = {
    ...(Object.fromEntries(blocks) as Record<string, Names>),
    tokens: [['tokens.weight', 'embeddings']],
    line: affine('line'),
    depthwise: affine('depthwise', depthwise ? 'depthwise' : 'grouped', 3),
    grouped: [['grouped.weight', 'grouped', 2]],
    batch: [
      ['batch.weight', 'plain'],
      ['batch.bias', 'plain'],
      ['batch.running_mean', 'plain'],
      ['batch.running_var', 'plain'],
    ],
    pointwise: affine('pointwise'),
    volume: affine('volume'),
    mix: affine('mix', 'transposed'), // stored [in, out], as tfjs has it
    head_hidden: affine('head.0'),
    head_out: affine('head.2'),
  };
  const inputs = [tensorOf(base.inputs.tokens), channelsLast(base.inputs.image), channelsLast(base.inputs.film)];
  return network(model, names, base.weights, {inputs, y: base.y.data});
}
