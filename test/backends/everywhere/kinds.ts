import * as tf from '@tensorflow/tfjs';
import {type LoRAConfig, registerAdaptable} from 'tfjs-lora';
import {Mix} from '../../customLayers';
import type {ACTIVATIONS} from '../../helpers';

/** An activation of tfjs. */
export type Activation = (typeof ACTIVATIONS)[number];

/**
 * What the suite gives a layer: a name, the shape of the input if it is the first of a model, and an activation if it
 * has one.
 */
export interface LayerArgs {
  name: string;
  inputShape?: number[];
  activation?: Activation;
  /** Of the gates of a recurrent layer. */
  recurrentActivation?: Activation;
}

/** A kind of layer that can be adapted, small, and with another number of channels out than in. */
export interface Kind {
  name: string;
  layer(args: LayerArgs): tf.layers.Layer;
  /**
   * Of one example. What the layer answers has to be of rank 3 at least, the batch included, and an input for another
   * such layer.
   */
  inputShape: number[];
  /** Inputs are whole numbers below this, not differentiable, and no layer of the kind can follow another. */
  tokens?: number;
  /** Whether the layer has an `activation`. Default: true. */
  activates?: boolean;
  /** How it is adapted, and what is said of that before each behaviour. Default: by LoRA. */
  options?: LoRAConfig;
  label?: string;
}

const {layers} = tf;

/**
 * tfjs starts recurrent kernels by a QR decomposition, which takes hundreds of operations on a graphics card. The suite
 * stirs all weights anyway.
 */
const RECURRENT = {recurrentInitializer: 'glorotUniform'} as const;

registerAdaptable('Mix', {weights: ['mix_Kernel']});

/** Every kind of layer that can be adapted: a row each is all that the suite needs to know. */
export const KINDS: readonly Kind[] = [
  {name: 'Dense', inputShape: [3, 5], layer: args => layers.dense({units: 4, ...args})},
  {name: 'Conv1D', inputShape: [7, 3], layer: args => layers.conv1d({filters: 4, kernelSize: 3, ...args})},
  {name: 'Conv2D', inputShape: [6, 7, 2], layer: args => layers.conv2d({filters: 5, kernelSize: 3, ...args})},
  {
    name: 'Conv2D, dilated',
    inputShape: [6, 7, 2],
    layer: args => layers.conv2d({filters: 5, kernelSize: 2, dilationRate: 2, padding: 'same', ...args}),
  },
  {
    name: 'Conv2DTranspose',
    inputShape: [3, 4, 3],
    layer: args => layers.conv2dTranspose({filters: 4, kernelSize: 3, strides: 2, padding: 'same', ...args}),
  },
  {name: 'Conv3D', inputShape: [4, 5, 4, 2], layer: args => layers.conv3d({filters: 4, kernelSize: 2, ...args})},
  {
    name: 'Conv3D, strided',
    inputShape: [4, 5, 4, 2],
    layer: args => layers.conv3d({filters: 4, kernelSize: 2, strides: [1, 2, 2], padding: 'same', ...args}),
  },
  {
    name: 'Conv3DTranspose',
    inputShape: [2, 3, 2, 3],
    layer: args => layers.conv3dTranspose({filters: 4, kernelSize: 2, strides: 2, ...args}),
  },
  {
    name: 'SeparableConv2D',
    inputShape: [6, 7, 3],
    layer: args => layers.separableConv2d({filters: 4, kernelSize: 3, ...args}),
  },
  {
    name: 'DepthwiseConv2D',
    inputShape: [7, 6, 3],
    layer: args => layers.depthwiseConv2d({depthMultiplier: 2, kernelSize: 3, ...args}),
  },
  {
    name: 'Embedding',
    inputShape: [5],
    tokens: 7,
    activates: false,
    layer: ({name, inputShape = []}) => layers.embedding({inputDim: 7, outputDim: 4, name, inputShape}),
  },
  {
    name: 'SimpleRNN',
    // With three steps, a number of this model lies so near the corner of relu that 16 bits carry it across.
    inputShape: [4, 3],
    layer: args => layers.simpleRNN({units: 5, returnSequences: true, ...RECURRENT, ...args}),
  },
  {
    name: 'GRU',
    inputShape: [3, 3],
    layer: args => layers.gru({units: 5, returnSequences: true, ...RECURRENT, ...args}),
  },
  {
    name: 'LSTM',
    inputShape: [3, 3],
    layer: args => layers.lstm({units: 5, returnSequences: true, ...RECURRENT, ...args}),
  },
  {
    name: 'RNN',
    inputShape: [3, 3],
    layer: ({activation, ...args}) => {
      // The usual hardSigmoid has corners.
      const smooth = {activation, recurrentActivation: 'sigmoid', ...RECURRENT} as const;
      const cell = [layers.lstmCell({units: 5, ...smooth}), layers.gruCell({units: 4, ...smooth})];
      return layers.rnn({cell, returnSequences: true, ...args});
    },
  },
  {
    name: 'Bidirectional',
    inputShape: [3, 3],
    layer: ({activation, recurrentActivation, ...args}) => {
      const gates = recurrentActivation && {recurrentActivation};
      const layer = layers.gru({units: 4, returnSequences: true, activation, ...gates, ...RECURRENT, name: 'inner'});
      return layers.bidirectional({layer: layer, mergeMode: 'concat', ...args});
    },
  },
  {
    name: 'ConvLSTM2D',
    inputShape: [3, 5, 4, 2],
    layer: args =>
      layers.convLstm2d({filters: 3, kernelSize: 2, padding: 'same', returnSequences: true, ...RECURRENT, ...args}),
  },
  {
    name: "a class of one's own",
    inputShape: [3, 5],
    activates: false,
    layer: args => new Mix({units: 4, ...args}),
  },
];

/** What a way to adapt layers is tested with. */
interface Way {
  label: string;
  options: LoRAConfig;
  /** The kinds that it is for. Default: all. */
  kinds?: RegExp;
}

const WITH_CHANNELS = /^(?:Dense|Conv[123]D|Conv2DTranspose|SeparableConv2D|DepthwiseConv2D)$/;

/** Some kinds compute as others do. */
const EACH_FORM = /^(?!RNN|Bidirectional|ConvLSTM2D|Conv3DTranspose)/;

const WAYS: readonly Way[] = [
  {label: 'dropout: ', options: {dropout: 0.3}, kinds: /^(?!ConvLSTM2D|Conv3DTranspose|a class)/},
  {label: 'dora: ', options: {method: 'dora'}},
  {label: 'dora with dropout: ', options: {method: 'dora', dropout: 0.3}, kinds: /^(?:Dense|GRU)$/},
  {label: 'lora-fa: ', options: {method: 'lora-fa'}, kinds: /^(?:Dense|Conv2D|GRU|Embedding)$/},
  {label: 'pissa: ', options: {init: 'pissa'}, kinds: EACH_FORM},
  {label: 'olora: ', options: {init: 'olora'}, kinds: /^(?:Dense|Conv2D|GRU|Embedding)$/},
  {label: 'ia3: ', options: {method: 'ia3'}, kinds: WITH_CHANNELS},
  {label: 'ia3-feedforward: ', options: {method: 'ia3-feedforward'}, kinds: WITH_CHANNELS},
  {label: 'vera: ', options: {method: 'vera'}, kinds: EACH_FORM},
  {label: 'loha: ', options: {method: 'loha'}, kinds: EACH_FORM},
  {label: 'lokr: ', options: {method: 'lokr'}, kinds: EACH_FORM},
];

/** Kinds of layers, adapted in each other way that is for them. */
export const METHOD_KINDS: readonly Kind[] = WAYS.flatMap(({kinds = /^/, ...way}) =>
  KINDS.filter(({name}) => kinds.test(name) && !name.includes(', ')).map(kind => ({
    ...kind,
    ...way,
    // The usual hardSigmoid has corners, and an update that is stirred reaches them.
    layer: args =>
      kind.layer(/GRU|LSTM|Bidirectional/.test(kind.name) ? {...args, recurrentActivation: 'sigmoid'} : args),
  })),
);
