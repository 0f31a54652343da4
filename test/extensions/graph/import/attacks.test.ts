import * as tf from '@tensorflow/tfjs';
import {applyLoRA, getAdapter, loadAdapter, replaceHead, saveAdapter} from 'tfjs-lora';
import {fromGraphModel} from 'tfjs-lora/graph';
import {withoutLeaks} from '../../../helpers';
import {MemoryHandler} from '../../../models';
import {countingCalls, expectLinear} from '../../../work';
import {graphOf, input, integers, node} from '../graphs';

const dims = () => tf.tensor1d([100_000, 100_000], 'int32');

describe('a graph from a stranger', () => {
  test.each([
    ['constants', [node('big', 'Fill', ['dims', 'one']), node('y', 'Add', ['x', 'big'])]],
    ['an op on the input', [node('y', 'BroadcastTo', ['x', 'dims'])]],
    ['a Tile of a Tile', [node('t', 'Tile', ['x', 'dims']), node('y', 'Tile', ['t', 'dims'])]],
  ])('cannot have memory filled by %s', async (_, nodes) => {
    const used = new Set(nodes.flatMap(({input: names = []}) => names));
    const one = tf.scalar(1);
    const constants = {dims: dims(), ...(used.has('one') && {one})};
    const graph = await graphOf([input('x', [-1, 1]), ...nodes], constants);
    await withoutLeaks(async () => {
      await expect(fromGraphModel(graph)).rejects.toThrow(/would return up to \d+ values/);
    });
  });

  test('cannot have an image enlarged by a pool with strides below 1', async () => {
    const pool = node('y', 'MaxPool3D', ['x'], {
      ksize: integers(1, 1, 2, 2, 1),
      strides: {list: {f: [1, 1, 1e-4, 1e-4, 1]}},
      padding: {s: btoa('SAME')},
    });
    const graph = await graphOf([input('x', [-1, 1, 8, 8, 1]), pool]);
    await withoutLeaks(async () => {
      await expect(fromGraphModel(graph)).rejects.toThrow(/would return up to \d+ values/);
    });
  });

  test('cannot be a chain that doubles without end', async () => {
    const nodes = Array.from({length: 40}, (_, i) =>
      node(`n${i}`, 'ConcatV2', [i === 0 ? 'c' : `n${i - 1}`, i === 0 ? 'c' : `n${i - 1}`, 'axis'], {N: {i: '2'}}),
    );
    const graph = await graphOf([input('x', [-1, 1]), ...nodes, node('y', 'Add', ['x', 'n39'])], {
      c: tf.ones([2 ** 12]),
      axis: tf.scalar(0, 'int32'),
    });
    await withoutLeaks(async () => {
      await expect(fromGraphModel(graph)).rejects.toThrow(/would return up to \d+ values/);
    });
  });

  test('cannot have constants multiplied without end', async () => {
    const nodes = Array.from({length: 60}, (_, i) => node(`n${i}`, 'MatMul', [i === 0 ? 'c' : `n${i - 1}`, 'c']));
    const graph = await graphOf([input('x', [-1, 256]), ...nodes, node('y', 'MatMul', ['x', 'n59'])], {
      c: tf.eye(256),
    });
    await withoutLeaks(async () => {
      await expect(fromGraphModel(graph)).rejects.toThrow(/would compute with \d+ values.*\{inputShapes\}/);
    });
  });

  test.each([
    [2, 'once if the sizes of its inputs are fixed'],
    [-1, 'twice if they are open'],
  ])('has a node for batches of %d tried out %s', async size => {
    const graph = await graphOf([input('x', [size, 2]), node('y', 'Reciprocal', ['x'])]);
    const {kernels} = await tf.profile(async () => {
      (await fromGraphModel(graph)).dispose();
    });
    expect(kernels.filter(({name}) => name === 'Reciprocal')).toHaveLength(size < 0 ? 2 : 1);
  });

  test('has an op on large images planned by a rule, without a run', async () => {
    const graph = await graphOf([input('x', [1, 1024, 1024, 8]), node('y', 'Sqrt', ['x'])]);
    const {kernels} = await tf.profile(async () => {
      const model = await fromGraphModel(graph);
      expect(model.outputs[0]!.shape).toEqual([null, 1024, 1024, 8]);
      model.dispose();
    });
    expect(kernels).toEqual([]);
  });

  test('may name attributes as it likes', async () => {
    const attributes = JSON.parse('{"__proto__": {"b": true}, "toString": {"i": "3"}}') as Record<string, {b: boolean}>;
    const graph = await graphOf([input('x', [-1, 2]), node('y', 'Tanh', ['x'], {...attributes, strides: integers(1)})]);
    expect((await fromGraphModel(graph)).layers).toHaveLength(2);
  });
});

describe('however large a graph from a stranger is,', () => {
  const callsOf = countingCalls();

  test('reading it takes work that is linear in its nodes', async () => {
    await expectLinear(callsOf, 1500, async size => {
      const nodes = Array.from({length: size}, (_, i) => node(`n${i}`, 'Identity', [i === 0 ? 'x' : `n${i - 1}`]));
      const graph = await graphOf([input('x', [-1, 2]), ...nodes, node('y', 'Tanh', [`n${size - 1}`])]);
      return async () => {
        expect((await fromGraphModel(graph)).layers).toHaveLength(2);
      };
    });
  });

  test('refusing it takes work that is linear in its nodes, with branches, sums and constants', async () => {
    await expectLinear(callsOf, 750, async size => {
      const blocks = Array.from({length: size}, (_, i) => {
        const [x, own] = [i === 0 ? 'x' : `y${i - 1}`, (name: string) => `${name}${i}`];
        return [
          node(own('product'), 'MatMul', [x, 'kernel']),
          node(own('sum'), 'AddV2', [own('product'), 'bias']),
          node(own('gate'), 'Sigmoid', [own('sum')]),
          node(own('gated'), 'Mul', [own('gate'), own('sum')]),
          node(own('half'), 'Mul', [own('gated'), 'scale']),
          node(own('y'), 'AddV2', [own('half'), x]),
        ];
      });
      const last = `y${size - 1}`;
      const end = [node('random', 'RandomUniform', ['dims']), node('y', 'AddV2', [last, 'random'])];
      const graph = await graphOf([input('x', [-1, 2]), ...blocks.flat(), ...end], {
        kernel: tf.ones([2, 2]),
        bias: tf.zeros([2]),
        scale: tf.scalar(0.5),
        dims: tf.tensor1d([2], 'int32'),
      });
      const message = new RegExp(`RandomUniform "random": The node is random\\.\n.*'${last}'`);
      return () => withoutLeaks(() => expect(fromGraphModel(graph)).rejects.toThrow(message));
    });
  });

  test('reading it takes work that is linear in nodes that all have the same short name', async () => {
    await expectLinear(callsOf, 10_000, async size => {
      const name = (i: number) => `PartitionedCall_${i}/n`;
      const nodes = Array.from({length: size}, (_, i) => node(name(i), 'Identity', [i === 0 ? 'x' : name(i - 1)]));
      const graph = await graphOf([input('x', [-1, 2]), ...nodes, node('y', 'Tanh', [name(size - 1)])]);
      return async () => {
        expect((await fromGraphModel(graph)).layers).toHaveLength(2);
      };
    });
  });

  test('it may compute many numbers from the size of its inputs, with work that is linear in them', async () => {
    // Each node gives 4096 numbers that depend on the size of the batch.
    await expectLinear(callsOf, 30, async size => {
      const numbers = (i: number) => (i === 0 ? 'many' : `n${i - 1}`);
      const nodes = Array.from({length: size}, (_, i) => node(`n${i}`, 'FloorMod', [numbers(i), 'size']));
      const first = [
        node('shape', 'Shape', ['x'], {out_type: {type: 'DT_INT32'}}),
        node('size', 'Prod', ['shape', 'zero']),
        node('many', 'BroadcastTo', ['size', 'dims']),
        node('floats', 'Cast', [`n${size - 1}`], {DstT: {type: 'DT_FLOAT'}}),
        node('total', 'Sum', ['floats', 'zero']),
      ];
      const graph = await graphOf([input('x', [-1, 2]), ...first, ...nodes, node('y', 'Mul', ['x', 'total'])], {
        zero: tf.tensor1d([0], 'int32'),
        dims: tf.tensor1d([4096], 'int32'),
      });
      return async () => {
        expect((await fromGraphModel(graph)).outputs[0]!.shape).toEqual([null, 2]);
      };
    });
  });
});

test("an adapter's head that brings a piece of a graph is refused", async () => {
  const body = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3], name: 'body'})]});
  const headed = replaceHead(body, [tf.layers.dense({units: 1, name: 'head'})], {after: 'body'});
  const adapter = getAdapter(applyLoRA(headed, {rank: 1, targets: ['body']}));
  const handler = new MemoryHandler();
  await saveAdapter(adapter, handler);
  const artifacts = await handler.load();
  const {config} = artifacts.modelTopology as {config: {head: {layers: object[]}}};
  const fragment = {
    node: {name: 'n', op: 'Tanh', input: ['x0']},
    inputs: [{name: 'x0', dtype: 'float32'}],
    weights: [],
    constants: [],
    outputs: [{index: 0, dtype: 'float32'}],
  };
  config.head.layers = [{className: 'GraphOp', config: {name: 'head', fragment: {name: JSON.stringify(fragment)}}}];
  await expect(loadAdapter({load: () => Promise.resolve(artifacts)})).rejects.toThrow(/head has a GraphOp/);
});
