import {existsSync} from 'node:fs';
import config from './jest.config.js';

/** A few tests of every room, by folder, that need no build: half a minute on two quiet cores. */
const QUICK = {
  '.': ['architecture', 'errors', 'quickstart'],
  adapter: ['noAdapter'],
  docs: ['links', 'troubleshooting'],
  formats: ['checksum', 'safetensors'],
  graph: ['graphDef', 'graphSize'],
  'graph/export': ['graphWeights'],
  'graph/import': ['stockLayers'],
  'graph/layers': ['graphOp'],
  head: ['foreignHead'],
  kernels: ['depthToSpace', 'unchanged'],
  layers: ['registry'],
  methods: ['dora'],
  model: ['closest', 'plan'],
  node: ['peftFolder'],
  ops: ['cellProducts', 'heldTensors', 'layerNorm'],
  peft: ['keyMap'],
  rewire: ['rewire'],
  storage: ['sources'],
  tfjs: ['configs'],
  training: ['randomState'],
  'transformers/layers': ['attention'],
};

const files = Object.entries(QUICK).flatMap(([room, names]) => names.map(name => `test/${room}/${name}.test.ts`));
const missing = files.filter(file => !existsSync(file));
if (missing.length > 0) {
  throw new Error(`jest.quick.config.js names tests that are not there: ${missing.join(', ')}.`);
}

/** @type {import('jest').Config} */
export default {
  ...config,
  reporters: ['default'],
  testMatch: files.map(file => `<rootDir>/${file.replace('/./', '/')}`),
};
