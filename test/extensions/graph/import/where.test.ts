import * as tf from '@tensorflow/tfjs';
import {fromGraphModel} from '../../../../src/graph';
import {numbers, useBackend, withoutLeaks} from '../../../helpers';
import {graphOf, input, node} from '../graphs';

/** The numbers above zero, and how many they are: what is behind the Where hangs on what is in the input. */
const positives = () =>
  graphOf(
    [
      input('x', [-1, 3]),
      node('kernel', 'MatMul', ['x', 'k']),
      node('above', 'Greater', ['kernel', 'zero']),
      node('places', 'Where', ['above']),
      node('y', 'GatherNd', ['kernel', 'places']),
    ],
    {k: tf.tensor2d([1, 0, 0, 0, 1, 0, 0, 0, -1], [3, 3]), zero: tf.scalar(0)},
  );

test('what a Where finds flows on', async () => {
  const graph = await positives();
  const model = await fromGraphModel(graph);
  const x = tf.tensor2d([1, -1, 2, -3, 4, -5], [2, 3]);
  expect(numbers(model.predict(x) as tf.Tensor)).toEqual([1, 4, 5]);
});

test('a Where in constants is computed when the graph is imported', async () => {
  const graph = await graphOf(
    [
      input('x', [-1, 4]),
      node('places', 'Where', ['mask']),
      node('columns', 'Reshape', ['places', 'flat']),
      node('y', 'GatherV2', ['x', 'columns', 'axis']),
    ],
    {
      mask: tf.tensor1d([0, 1, 0, 1], 'bool'),
      flat: tf.tensor1d([-1], 'int32'),
      axis: tf.scalar(1, 'int32'),
    },
  );
  const x = tf.tensor2d([1, 2, 3, 4, 5, 6, 7, 8], [2, 4]);
  const [expected] = [await graph.executeAsync({x})].flat();
  const model = await fromGraphModel(graph);
  const actual = model.predict(x) as tf.Tensor;
  expect(actual.shape).toEqual(expected!.shape);
  expect(numbers(actual)).toEqual(numbers(expected!));
});

describe('on webgpu, which reads no tensor in the middle of a call,', () => {
  beforeAll(() => {
    // The name is what counts: the kernels are those of cpu.
    tf.registerBackend('webgpu', tf.findBackendFactory('cpu'));
    tf.copyRegisteredKernels('cpu', 'webgpu');
  });

  afterAll(() => {
    tf.removeBackend('webgpu');
  });

  test('a Where is refused by name, with the part that can be imported, and nothing is left behind', async () => {
    const graph = await positives();
    await useBackend('webgpu');
    await withoutLeaks(async () => {
      await expect(fromGraphModel(graph)).rejects.toThrow(
        /Where "places": The node must read a tensor synchronously, which webgpu cannot\.\nImport a part of it: fromGraphModel\(graph, \{outputs: \['kernel'\]\}\)/,
      );
    });
  });

  test('the part before it is imported', async () => {
    const graph = await positives();
    await useBackend('webgpu');
    const model = await fromGraphModel(graph, {outputs: ['kernel']});
    expect(numbers(model.predict(tf.tensor2d([[1, 2, 3]])) as tf.Tensor)).toEqual([1, 2, -3]);
  });

  test('a model that was imported elsewhere refuses it when it is called', async () => {
    const model = await fromGraphModel(await positives());
    await useBackend('webgpu');
    expect(() => model.predict(tf.ones([1, 3]))).toThrow(/Where "places": The node must read a tensor/);
  });
});
