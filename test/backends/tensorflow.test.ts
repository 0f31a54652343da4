import * as tf from '@tensorflow/tfjs';
import {tensorflowKernels} from '../../src/backends/node/tensorflow';
import {below, pick, randomFrom} from '../attack/damage';
import {numbers, useBackend} from '../helpers';

// TensorFlow's gradient of a kernel that is smaller than its stride damages the heap where no window reads the last
// rows or columns. A test sees that by chance alone, so that this one looks at what TensorFlow is given: in its place
// stands the kernel of cpu.

interface Call {
  inputs: {x: tf.Tensor4D; dy: tf.Tensor4D};
  attrs: {filterShape: number[]};
}

test('the gradient of a kernel is computed without rows and columns that no window reads', async () => {
  await useBackend('cpu');
  const name = tf.Conv2DBackpropFilter;
  const stock = tf.getKernel(name, 'cpu');
  let given: number[] = [];
  const kernel = tensorflowKernels.find(each => each.name === name)!;
  const own = kernel.configure({
    ...stock,
    kernelFunc: call => {
      given = (call as unknown as Call).inputs.x.shape;
      return stock.kernelFunc(call);
    },
  })!.kernelFunc as unknown as (call: object) => tf.TensorInfo;
  const random = randomFrom(1);
  let cut = 0;
  for (let i = 0; i < 200; i++) {
    const dataFormat = pick(random, ['NHWC', 'NCHW'] as const);
    const pad = pick(random, ['same', 'valid'] as const);
    const [window, strides] = [
      [1 + below(random, 3), 1 + below(random, 3)],
      [1 + below(random, 4), 1 + below(random, 4)],
    ];
    const [height, width] = [3 + below(random, 8), 3 + below(random, 8)];
    tf.tidy(() => {
      const x = tf.randomNormal<tf.Rank.R4>(dataFormat === 'NHWC' ? [2, height, width, 3] : [2, 3, height, width]);
      const filterShape = [...window, 3, 2] as [number, number, number, number];
      const y = tf.conv2d(x, tf.zeros(filterShape), strides as [number, number], pad, dataFormat);
      const attrs = {strides, pad, dataFormat, filterShape};
      const call = {inputs: {x, dy: tf.randomNormal(y.shape)}, attrs, backend: tf.backend()};
      const {numTensors} = tf.memory();
      const found = own(call);
      expect(tf.memory().numTensors).toBe(numTensors); // the engine has not seen the result yet
      expect(numbers(tf.engine().makeTensorFromTensorInfo(found))).toEqual(
        numbers(tf.engine().runKernel(name, call.inputs, attrs)),
      );
      const [first, outputs] = dataFormat === 'NHWC' ? [1, y.shape.slice(1, 3)] : [2, y.shape.slice(2)];
      [height, width].forEach((size, axis) => {
        const read = (outputs[axis]! - 1) * strides[axis]! + window[axis]!;
        const isCut = window[axis]! < strides[axis]! && read < size;
        expect(given[first + axis]).toBe(isCut ? read : size);
        cut += isCut ? 1 : 0;
      });
    });
  }
  expect(cut).toBeGreaterThan(50);
});
