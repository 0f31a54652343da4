import * as tf from '@tensorflow/tfjs';
import {applyLoRA, getAdapter, type LoRAConfig, planLoRA} from '../../../src';
import {cnn, mlp, reloaded} from '../../models';

/** A layer of a user's, of models that are adapted in their linear layers. */
class Mixing extends tf.layers.Layer {
  static readonly className = 'LinearTargetsMixing';
  static readonly usualTargets = 'linear';
  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor | tf.Tensor[] {
    return inputs;
  }
  override computeOutputShape(shape: tf.Shape): tf.Shape {
    return shape;
  }
}
tf.serialization.registerClass(Mixing);

const {dense, embedding, flatten, activation, timeDistributed} = tf.layers;

/** An embedding, a Dense that is shared out over time, one in a nested model, and two heads. */
function network(...more: tf.layers.Layer[]): tf.LayersModel {
  const input = tf.input({shape: [3], dtype: 'int32'});
  const inner = tf.sequential({
    name: 'inner',
    layers: [dense({units: 4, inputShape: [12], name: 'up'}), dense({units: 4, name: 'down'})],
  });
  const layers = [
    embedding({inputDim: 5, outputDim: 4, name: 'tokens'}),
    timeDistributed({layer: dense({units: 4, name: 'each'}), name: 'steps'}),
    ...more,
    flatten(),
    inner,
  ];
  const body = layers.reduce<tf.SymbolicTensor>((x, layer) => layer.apply(x) as tf.SymbolicTensor, input);
  const one = activation({activation: 'softmax'}).apply(dense({units: 2, name: 'one'}).apply(body));
  const two = dense({units: 2, name: 'two'}).apply(body);
  return tf.model({inputs: input, outputs: [one, two] as tf.SymbolicTensor[]});
}

function adaptedBy(model: tf.LayersModel, config: LoRAConfig): string[] {
  return Object.keys(getAdapter(applyLoRA(model, {rank: 1, ...config} as LoRAConfig)).config.layers).sort();
}

const LINEAR = ['inner/down', 'inner/up', 'steps/each'];

test("'linear' names the Dense layers, but for those that give the outputs", () => {
  expect(adaptedBy(network(), {targets: 'linear'})).toEqual(LINEAR);
  expect(adaptedBy(network(), {targets: 'linear', exclude: ['inner'], trainInFull: ['one']})).toEqual(['steps/each']);
  expect(adaptedBy(mlp().model, {targets: 'linear'})).not.toContain('head');
  expect(() => applyLoRA(cnn().model, {targets: 'linear'})).toThrow('There is nothing to adapt.');
});

test('a model ends in what it nests: the last layer of that is a head too', () => {
  const model = tf.sequential({layers: [dense({units: 2, inputShape: [3], name: 'first'}), tail()]});
  expect(adaptedBy(model, {targets: 'linear'})).toEqual(['first', 'tail/before']);
});

function tail(): tf.LayersModel {
  const layers = [dense({units: 2, inputShape: [2], name: 'before'}), dense({units: 2, name: 'last'})];
  return tf.sequential({name: 'tail', layers});
}

test("it is the default where a layer's class says so, in a model that was saved too", async () => {
  expect(adaptedBy(network(), {})).toEqual(['inner/down', 'inner/up', 'one', 'steps/each', 'tokens', 'two']);
  const model = network(new Mixing());
  expect(adaptedBy(model, {})).toEqual(LINEAR);
  expect(adaptedBy(model, {targets: 'all'})).toContain('tokens');
  const loaded = await reloaded(model);
  expect(adaptedBy(loaded, {})).toEqual(LINEAR);
});

test('a plan says that a layer is adapted by this, or is not among the targets', () => {
  const reasons = planLoRA(network(new Mixing())).layers.map(({path, reason}) => [path, reason]);
  expect(Object.fromEntries(reasons)).toMatchObject({
    'inner/up': "targets: 'linear'",
    one: 'It is not among the targets.',
    tokens: 'It is not among the targets.',
  });
});

test('branches without weights that meet again and again are followed once', () => {
  const input = tf.input({shape: [4]});
  const inner = tf.layers.dense({units: 4, name: 'inner'}).apply(input) as tf.SymbolicTensor;
  let end = tf.layers.dense({units: 4, name: 'last'}).apply(inner) as tf.SymbolicTensor;
  for (let depth = 0; depth < 40; depth++) {
    end = tf.layers.add().apply([end, end]) as tf.SymbolicTensor;
  }
  expect(adaptedBy(tf.model({inputs: input, outputs: end}), {targets: 'linear'})).toEqual(['inner']);
});
