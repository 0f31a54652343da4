import config from './jest.config.js';

/** What takes longest, by the names of its files. The rest covers every room in half a minute on two cores. */
const SLOW = [
  'everywhere',
  'examples/',
  'package/',
  'docs/',
  'dist',
  'apply',
  'combine',
  'convolution',
  'convolution3d',
  'copy',
  'cycles',
  'exportPeft',
  'frozenLayer',
  'head',
  'importPeft',
  'linear',
  'loraDepthwiseConv2d',
  'loraEmbedding',
  'loraRNN',
  'loraSeparableConv2d',
  'loraWeights',
  'matMul',
  'optimizer',
  'paraphrase',
  'pool',
  'restore',
  'safetensors',
  'stockByWeights',
  'storage',
  'svd',
];

/** @type {import('jest').Config} */
export default {
  ...config,
  reporters: ['default'],
  testPathIgnorePatterns: SLOW.map(name => (name.endsWith('/') ? `/${name}` : `/${name}\\.test\\.ts$`)),
};
