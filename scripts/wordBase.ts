// Writes the network for spoken words in 8 bits, as `tfjs-lora/words` has it:
//
//     npx tsx scripts/wordBase.ts     examples/sounds/base to src/extensions/words/wordBaseData.ts
//
// Each kernel has a scale for each output channel, a 127th of its largest weight. Run this after
// examples/sounds/pretrain.ts; a test compares the two files.

import {readFileSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {argv} from 'node:process';
import {base85Of} from '../src/platform/formats/base85';

interface Layer {
  class_name: string;
  config: Record<string, unknown>;
}

interface ModelFile {
  modelTopology: {class_name: string; config: {name: string; layers: Layer[]}};
  weightsManifest: [{weights: {name: string; shape: number[]}[]}];
}

const FILE = 'src/extensions/words/wordBaseData.ts';

/** A kernel's scales as 32-bit floats, then its values in 8 bits. */
function inEightBits(values: Float32Array, channels: number): Uint8Array[] {
  const largest = new Float32Array(channels);
  values.forEach((value, i) => (largest[i % channels] = Math.max(largest[i % channels]!, Math.abs(value))));
  const scales = largest.map(value => value / 127);
  const steps = Int8Array.from(values, (value, i) => Math.round(value / (scales[i % channels] || 1)));
  return [new Uint8Array(scales.buffer), new Uint8Array(steps.buffer)];
}

/** A config without what tfjs takes by default, and without how the weights were drawn. */
function withoutDefaults({class_name, config}: Layer): Layer {
  const isKept = ([key, value]: [string, unknown]) => value !== null && !/_(initializer|constraint)$/.test(key);
  return {class_name, config: Object.fromEntries(Object.entries(config).filter(isKept))};
}

/** The text of the module, made of the files of a network in a folder of the project. */
export function wordBaseModule(root: string): string {
  const file = (name: string) => readFileSync(join(root, 'examples/sounds/base', name));
  const {modelTopology, weightsManifest} = JSON.parse(file('model.json').toString()) as ModelFile;
  const data = new Float32Array(new Uint8Array(file('weights.bin')).buffer);
  let at = 0;
  const parts = weightsManifest[0].weights.flatMap(({shape}) => {
    const values = data.slice(at, (at += shape.reduce((size, side) => size * side, 1)));
    return shape.length === 1 ? [new Uint8Array(values.buffer)] : inEightBits(values, shape.at(-1)!);
  });
  const {class_name, config} = modelTopology;
  const layers = config.layers.map(withoutDefaults);
  const description = {
    modelTopology: {class_name, config: {name: 'words', layers}},
    weights: weightsManifest[0].weights.map(({name, shape}) => ({name, shape})),
  };
  return `// Written by scripts/wordBase.ts from examples/sounds/base.

/** The layers and the shapes of the weights, as JSON. */
export const MODEL =
  '${JSON.stringify(description)}';

/** The weights, in base 85. A kernel: scales of its output channels as float32, then 8 bits each. A bias: float32. */
export const WEIGHTS =
  '${base85Of(Buffer.concat(parts))}';
`;
}

if (argv[1]?.endsWith('wordBase.ts')) {
  const root = join(dirname(argv[1]), '..');
  const text = wordBaseModule(root);
  writeFileSync(join(root, FILE), text);
  console.log(`${FILE} has ${text.length.toLocaleString('en')} bytes.`);
}
