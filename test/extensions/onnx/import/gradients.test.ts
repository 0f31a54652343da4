import * as tf from '@tensorflow/tfjs';
import {disposeModel, trainableVariables} from '../../../../src/index';
import {fromONNX} from '../../../../src/onnx';
import {useBackend, withoutLeaks} from '../../../helpers';
import {bytesOf, readCases} from '../cases';

beforeAll(() => useBackend('cpu'));

/** One of each kind of layer, and operations that are smooth. */
const SMOOTH = new RegExp(
  '^(?:Conv|ConvTranspose|Gemm|MatMul and bias|BatchNormalization|LayerNormalization|InstanceNormalization|' +
    'GroupNormalization|RMSNormalization|LSTM|GRU|RNN|Attention|Gelu|Softmax|AveragePool|GlobalAveragePool|Resize|' +
    'Einsum(?: bi.*)?|GatherND of .*example.*|ConvTranspose along three axes with pads|MultiHeadAttention|RotaryEmbedding|SkipLayerNormalization|ReduceMean|LogSoftmax|Swish)$',
);
const CASES = readCases('operations').filter(
  ({name, inputs}) => SMOOTH.test(name) && Object.values(inputs).some(({dtype}) => dtype === 'float32'),
);

test.each(CASES)('$name: gradients are those of finite differences', async each => {
  await withoutLeaks(async () => {
    const model = await fromONNX(bytesOf(each));
    const given = Object.values(each.inputs).map(({values, shape, dtype}) => tf.tensor(values, shape, dtype));
    const variables = trainableVariables(model);
    tf.tidy(() => {
      const loss = (x: tf.Tensor[]) =>
        tf.tidy(() => {
          const [y] = [model.apply(x.length === 1 ? x[0]! : x)].flat() as tf.Tensor[];
          return tf.sum<tf.Scalar>(tf.mul(y!, tf.sin(tf.reshape(tf.range(0, y!.size), y!.shape))));
        });
      const at = (x: tf.Tensor[]) => loss(x).dataSync()[0]!;
      const place = given.findIndex(({dtype}) => dtype === 'float32');
      const around = (x: tf.Tensor) => given.map((tensor, i) => (i === place ? x : tensor));
      const expectSlope = (slope: tf.Tensor, direction: tf.Tensor, change: (h: number) => number) => {
        const wanted = (8 * (change(0.01) - change(-0.01)) - (change(0.02) - change(-0.02))) / 0.12;
        const actual = tf.sum(tf.mul(slope, direction)).dataSync()[0]!;
        expect(Math.abs(actual - wanted)).toBeLessThan(2e-3 * Math.max(1, Math.abs(wanted)));
      };
      const towards = (tensor: tf.Tensor) => tf.randomNormal(tensor.shape, 0, 0.5, 'float32', 1);
      const x = given[place]!;
      const direction = towards(x);
      const slope = tf.grad((value: tf.Tensor) => loss(around(value)))(x);
      expectSlope(slope, direction, h => at(around(tf.add(x, tf.mul(direction, h)))));
      // tfjs refuses an empty list.
      const {grads} = variables.length > 0 ? tf.variableGrads(() => loss(given), variables) : {grads: {}};
      for (const variable of variables) {
        const [kept, way] = [tf.clone(variable), towards(variable)];
        expectSlope((grads as tf.NamedTensorMap)[variable.name]!, way, h => {
          variable.assign(tf.add(kept, tf.mul(way, h)));
          const value = at(given);
          variable.assign(kept);
          return value;
        });
      }
    });
    tf.dispose(given);
    disposeModel(model);
  });
});
