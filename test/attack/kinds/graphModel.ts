import * as tf from '@tensorflow/tfjs';
import {disposeModel, LoRAError} from 'tfjs-lora';
import {fromGraphModel} from 'tfjs-lora/graph';
import {shapeOf} from '../../../src/extensions/graph/graphDef';
import {graphOf} from '../../extensions/graph/graphs';
import {type AttackKind, type Json, mustHold, type Parts, WrongLoad} from '../kind';
import {tensorOf} from '../graphBuilder';
import {type Batch, type RandomGraph, randomGraph} from '../randomGraph';

/** Numbers of a graph and of the layers made of it, which may fuse operations, differ by less. */
const TOLERANCE = 1e-4;
/** Rows that an input of any batch is given. */
const BATCHES = [1, 2, 4, 7];
/** Sizes that an axis of any length is given, for each batch. */
const LENGTHS = [2, 5, 4, 3];

/** Valid graphs, which are refused or compute as layers what they compute as graphs, whatever the batch. */
export const graphModel = (batch: Batch, of: string): AttackKind => ({
  name: `a graph of ${of}`,
  isValid: true,
  prepare: () => ({
    whole: [],
    make: random => ({graph: randomGraph(random, batch) as unknown as Json}),
    models: [],
    async use({graph: parts}: Parts) {
      const {nodes, constants, outputs} = parts as unknown as RandomGraph;
      const inputs = nodes.filter(({op}) => op === 'Placeholder');
      const named = (names: readonly string[]) => Object.fromEntries(names.map((name, i) => [`${i}`, {name}]));
      const graph = await graphOf(
        nodes,
        Object.fromEntries(Object.entries(constants).map(([name, constant]) => [name, tensorOf(constant)])),
        {inputs: named(inputs.map(({name}) => name)), outputs: named(outputs)},
      );
      try {
        const model = await fromGraphModel(graph);
        try {
          const shapes = inputs.map(each => shapeOf(each, 'shape')!);
          const subject = {graph, model, inputs: inputs.map(({name}) => name), shapes, outputs};
          (batch === 'fixed' ? fixedHolds : openHolds)(subject);
        } finally {
          disposeModel(model);
        }
      } finally {
        graph.dispose();
      }
    },
  }),
});

/** A graph and the model made of it. */
interface Subject {
  graph: tf.GraphModel;
  model: tf.LayersModel;
  inputs: readonly string[];
  shapes: readonly (number | null)[][];
  outputs: readonly string[];
}

/** Inputs of so many rows. */
function rows({shapes, model}: Subject, count: number, length = 3): tf.Tensor[] {
  return shapes.map((shape, at) => {
    const sizes = [count, ...shape.slice(1).map(size => size ?? length)];
    const x = tf.sin(tf.mul(tf.range(1, tf.util.sizeFromShape(sizes) + 1), 12.9 + at));
    const isInteger = model.inputs[at]!.dtype === 'int32';
    return tf.reshape(isInteger ? tf.cast(tf.round(tf.add(x, 1)), 'int32') : tf.mul(x, 1.5), sizes);
  });
}

function executed({graph, inputs, outputs}: Subject, xs: readonly tf.Tensor[]): tf.Tensor[] {
  const feed = Object.fromEntries(inputs.map((name, i) => [name, xs[i]!]));
  return [graph.execute(feed, [...outputs])].flat();
}

function predicted({model}: Subject, xs: readonly tf.Tensor[], batchSize: number): tf.Tensor[] {
  return [model.predict([...xs], {batchSize})].flat();
}

/** A graph of any batch gives what it gave. */
function openHolds(subject: Subject): void {
  for (const [i, count] of BATCHES.entries()) {
    tf.tidy(() => {
      const xs = rows(subject, count, LENGTHS[i]);
      const expected = unlessItFails(() => executed(subject, xs));
      mustBeRefusedOr(() => expected && compare(predicted(subject, xs, count), expected, `${count} rows`));
    });
  }
}

/** What a graph gives; nothing where it is not for such sizes or numbers. */
function unlessItFails<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch {
    return undefined;
  }
}

/** Other sizes than those that a model was imported for may be refused. */
function mustBeRefusedOr(use: () => unknown): void {
  try {
    use();
  } catch (error) {
    if (!(error instanceof LoRAError)) {
      throw error;
    }
  }
}

/** A graph of a fixed batch gives what it gave, and for other batches the same for each row, or refuses them. */
function fixedHolds(subject: Subject): void {
  const own = subject.shapes[0]![0]!;
  const isFree = subject.model.inputs[0]!.shape[0] === null;
  for (const count of [own, ...[1, 2, 3, 5].filter(each => each !== own)]) {
    tf.tidy(() => {
      const xs = rows(subject, count);
      const batches = unlessItFails(() => (count === own ? [executed(subject, xs)] : rowByRow(subject, xs, own)));
      const use = () => {
        const actual = predicted(subject, xs, count);
        compare(actual, count === own ? batches![0]! : firstRows(batches!, own), `${count} rows`);
      };
      if (batches !== undefined && (isFree || count === own)) {
        use();
      } else if (batches !== undefined) {
        mustBeRefusedOr(use);
      }
    });
  }
}

/** What the graph gives for each row, in a batch of its own size that begins with it. */
function rowByRow(subject: Subject, xs: readonly tf.Tensor[], own: number): tf.Tensor[][] {
  const count = xs[0]!.shape[0];
  return Array.from({length: count}, (_, row) => {
    const places = Array.from({length: own}, (__, i) => (row + i) % count);
    return executed(
      subject,
      xs.map(x => tf.gather(x, tf.tensor1d(places, 'int32'))),
    );
  });
}

/** The first row of each batch, for each output. */
function firstRows(batches: readonly tf.Tensor[][], own: number): tf.Tensor[] {
  return batches[0]!.map((_, output) => {
    const results = batches.map(batch => batch[output]!);
    mustHold(results[0]!.shape[0] === own, 'other batches are taken, and an output has no axis for them');
    return tf.concat(results.map(result => tf.slice(result, 0, 1)));
  });
}

function compare(actual: readonly tf.Tensor[], expected: readonly tf.Tensor[], of: string): void {
  expected.forEach((y, i) => {
    const x = actual[i]!;
    mustHold(
      tf.util.arraysEqual(x.shape, y.shape),
      `output ${i}, ${of}: [${x.shape.join()}] instead of [${y.shape.join()}]`,
    );
    // Some kernels leave more numbers behind an empty tensor.
    const [a, b] = [x, y].map(tensor => Array.from(tensor.dataSync()).slice(0, tensor.size)) as [number[], number[]];
    const largest = Math.max(1, ...b.filter(Number.isFinite).map(Math.abs));
    const differs = b.findIndex(
      (value, j) => !(Object.is(value, a[j]) || Math.abs(value - a[j]!) <= TOLERANCE * largest),
    );
    if (differs >= 0) {
      throw new WrongLoad(`output ${i}, ${of}: ${a[differs]} instead of ${b[differs]}`);
    }
  });
}
