import config from './jest.config.js';

/**
 * What takes longer than a second or needs the built library, by the names of its files, except for a few. The rest covers every room, in half a
 * minute on two cores, in a fresh clone too.
 */
const SLOW = {
  '': ['dist', 'mnist', 'nullArguments'],
  adapter: ['combine', 'cycles', 'importWork'],
  attack: ['attack'],
  docs: ['pages'],
  examples: ['attention', 'browser', 'graph', 'methods', 'sentences', 'swap'],
  'graph/gradients': ['graphGradients', 'rowGradients'],
  'graph/import': ['fromGraphModel'],
  head: ['replaceHead'],
  kernels: [
    'broadcast',
    'lifecycle',
    'convolution',
    'copy',
    'everywhere',
    'matMul',
    'native',
    'nativeKernels',
    'wasm',
    'pool',
  ],
  layers: [
    'lora(Bidirectional|Conv\\dd|Conv2dTranspose|DepthwiseConv2d|Embedding|GRU|LSTM|RNN|SeparableConv2d|SimpleRNN)',
    'stockByWeights',
    'unadaptedLayer',
    'loraWeights',
  ],
  methods: ['everyKind', 'principal', 'loraFA'],
  model: ['apply', 'bias', 'ignorantLayers', 'optimizers?', 'registerAdaptable', 'restore', 'fits', 'split'],
  node: ['fileHandler', 'processes'],
  ops: ['conv3d', 'linear', 'conv1d', 'conv2dTranspose', 'svd'],
  package: ['bundlers', 'cli', 'package', 'pages', 'sizes', 'waysIn'],
  peft: ['exportPeft', 'importPeft'],
  storage: ['browser', 'safetensors', 'storage', 'limits'],
  tfjs: ['states'],
  training: ['resume', 'callbacks', 'nestedOptimizers'],
  'transformers/ops': ['attention'],
  transformers: ['configs', 'loadTransformer', 'models', 'paraphrase', 'texts'],
};

/** @type {import('jest').Config} */
export default {
  ...config,
  reporters: ['default'],
  testPathIgnorePatterns: Object.entries(SLOW).map(
    ([room, names]) => `/test/${room && `${room}/`}(${names.join('|')})\\.test\\.ts$`,
  ),
};
