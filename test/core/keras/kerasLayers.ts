import type * as tf from '@tensorflow/tfjs';
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {gunzipSync} from 'node:zlib';

/** A value of JSON that is nothing but an object or a list here. */
type Tree = Record<string | number, unknown>;

interface StoredCase {
  label: string;
  /** Shapes and sums, as Keras computes them. */
  outputs: [number[], number[]][];
  topology?: Tree;
  /** What differs from the first topology of the group: a path, and the value there, if there is one. */
  changes?: [(string | number)[], unknown?][];
  weights?: [name: string, shape: number[], number: number, constant?: number][];
}

interface StoredGroup {
  name: string;
  inputs: (number[] | string)[];
  cases: StoredCase[];
}

/** A model of Keras: one layer, or a few. */
export interface KerasCase {
  /** Its class, with the settings that differ from the first of the class. */
  name: string;
  group: string;
  /** These settings, one by one: `padding=same`. */
  settings: string[];
  artifacts: tf.io.ModelArtifacts;
  inputs: {shape: number[]; values: Float32Array}[];
  outputs: {shape: number[]; sums: number[]}[];
}

/** The cases that a version of Keras computed, by `make_keras.py --layers`. */
export function kerasCases(version: 2 | 3): KerasCase[] {
  const file = join(__dirname, `../../fixtures/kerasLayers/keras-${version}.json.gz`);
  const groups = JSON.parse(gunzipSync(readFileSync(file)).toString()) as StoredGroup[];
  return groups.flatMap(({name, inputs, cases}) =>
    cases.map(({label, outputs, topology, changes = [], weights}) => {
      const base = JSON.parse(JSON.stringify(topology ?? cases[0]!.topology)) as Tree;
      changes.forEach(([path, ...values]) => change(base, path, values));
      return {
        name: label === '' ? name : `${name} ${label}`,
        group: name,
        settings: label.split(/ (?=\w+=)/),
        artifacts: artifactsOf(base, weights ?? cases[0]!.weights!),
        inputs: shapesOf(base).map((shape, i) => ({shape, values: drawn(inputs[i]!, shape, i)})),
        outputs: outputs.map(([shape, sums]) => ({shape, sums})),
      };
    }),
  );
}

/** Four sums of numbers, each times one that is drawn. */
export function sumsOf(values: readonly number[]): number[] {
  return [0, 1, 2, 3].map(i => {
    const weights = drawn('', [values.length], 200 + i);
    return values.reduce((sum, value, j) => sum + value * weights[j]!, 0);
  });
}

function change(tree: Tree, path: readonly (string | number)[], values: readonly unknown[]): void {
  const parent = path.slice(0, -1).reduce<Tree>((inner, key) => inner[key] as Tree, tree);
  const key = path.at(-1)!;
  if (values.length === 0) {
    Reflect.deleteProperty(parent, key);
  } else {
    parent[key] = values[0];
  }
}

/** The shapes of two examples of each input. */
function shapesOf(topology: Tree): number[][] {
  const {layers} = (topology.model_config as {config: {layers: {class_name: string; config: Tree}[]}}).config;
  return layers
    .filter(({class_name: name}) => name === 'InputLayer')
    .map(({config}) => [2, ...((config.batch_shape ?? config.batch_input_shape) as number[]).slice(1)]);
}

function artifactsOf(modelTopology: Tree, weights: NonNullable<StoredCase['weights']>): tf.io.ModelArtifacts {
  const specs = weights.map(([name, shape]): tf.io.WeightsManifestEntry => ({name, shape, dtype: 'float32'}));
  const values = weights.map(([name, shape, number, constant]) => {
    const halves = drawn('', shape, 100 + number).map(value => value / 2);
    return constant === undefined
      ? halves.map(value => (name.includes('variance') ? Math.abs(value) + 1 : value))
      : [constant];
  });
  return {modelTopology, weightSpecs: specs, weightData: new Float32Array(values.flatMap(each => [...each])).buffer};
}

/** The numbers that `make_keras.py` draws: whole ones for words, else from -2 to 2. */
export function drawn(kind: number[] | string, shape: readonly number[], number: number): Float32Array {
  const size = shape.reduce((product, length) => product * length, 1);
  const values = Float32Array.from({length: size}, (_, i) => {
    const first = Math.imul(i + 1000003 * number + 1, 2654435761) >>> 0;
    const bits = (Math.imul(first ^ (first >>> 15), 2246822519) >>> 0) >>> 8;
    return kind === 'words' ? bits % 10 : kind === 'flags' ? bits % 2 : bits / 2 ** 22 - 2;
  });
  if (kind === 'masked') {
    const [, steps = 0, width = 0] = shape;
    values.fill(0, (2 * steps - 2) * width);
    values.fill(0.5, 3 * width, steps * width);
  }
  return values;
}
