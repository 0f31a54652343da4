import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel, mergeLoRA} from '../../../../src/index';
import type {GraphOp} from '../../../../src/extensions/graph/import/graphOp';
import {fromONNX} from '../../../../src/onnx';
import {withoutLeaks} from '../../../helpers';
import {bytesOf, expectOutputs, predicted, readCases} from '../cases';

const CASES = new Map(readCases('networks').map(each => [each.name, each]));

test.each([...CASES.keys()])('%s: imports, adapts, trains and merges', async name => {
  const each = CASES.get(name)!;
  await withoutLeaks(async () => {
    const base = await fromONNX(bytesOf(each));
    const before = predicted(base, each);
    expectOutputs(before, each.outputs);
    const model = applyLoRA(base, {rank: 2, seed: 1});
    const adapted = predicted(model, each);
    adapted.forEach((output, i) => expect(output.dataSync()).toEqual(before[i]!.dataSync()));
    model.compile({optimizer: adam({learningRate: 0.01}), loss: tf.losses.meanSquaredError});
    const [{values, shape, dtype} = each.outputs[0]!] = Object.values(each.inputs);
    const x = tf.tensor(values, shape, dtype);
    const targets = before.map(output =>
      tf.tidy(() => tf.mul(output, tf.randomUniform(output.shape, 0, 1, 'float32', 1))),
    );
    const step = async () => [await model.trainOnBatch(x, targets)].flat()[0] as number;
    const first = await step();
    for (let i = 0; i < 4; i++) {
      await step();
    }
    expect(await step()).toBeLessThan(first);
    const merged = mergeLoRA(model);
    const tuned = predicted(model, each);
    const plain = predicted(merged, each);
    plain.forEach((output, i) =>
      expect(Array.from(output.dataSync())).toBeAllClose(tuned[i]!.dataSync(), {atol: 1e-5}),
    );
    tf.dispose([before, adapted, x, targets, tuned, plain]);
    model.optimizer.dispose();
    [merged, model, base].forEach(disposeModel);
  });
});

test('a LayerNorm and a GELU that opset 14 writes as operations become layers', async () => {
  const model = await fromONNX(bytesOf(CASES.get('encoder, torchscript, any batch')!));
  const kinds = model.layers.map(layer => {
    const {activation} = layer.getConfig();
    return layer.getClassName() === 'Activation' ? activation : layer.getClassName();
  });
  expect(kinds).toEqual(expect.arrayContaining(['LayerNormalization', 'gelu']));
  const operations = model.layers.flatMap(layer => (layer as unknown as Partial<GraphOp>).fragment?.node.op ?? []);
  expect(operations).not.toEqual(expect.arrayContaining(['Erf']));
  expect(operations).not.toEqual(expect.arrayContaining(['Sqrt']));
});
