import * as tf from '@tensorflow/tfjs';
import {applyLoRA, loadKerasModel, mergeLoRA, removeLoRA} from 'tfjs-lora';
import {numbers} from '../../helpers';
import {reloaded, stirFactors, train} from '../../models';
import {artifactsOf, computedByKeras, handlerOf} from './converted';

test.each(['keras-2.21-keras-cells', 'keras-3.12-h5-cells'])('%s is adapted, trained, saved and merged', async name => {
  const base = await loadKerasModel(handlerOf(artifactsOf(name)));
  const {inputs} = computedByKeras(name);
  const outputsOf = (model: tf.LayersModel) => numbers(model.predict(inputs) as tf.Tensor);
  const expected = outputsOf(base);
  const model = applyLoRA(base, {rank: 2, seed: 1});
  expect(model.layers.slice(1).map(layer => layer.getClassName())).toEqual(
    ['Embedding', 'Bidirectional', 'RNN', 'GRU'].map(kind => `tfjs-lora>LoRA${kind}`),
  );
  expect(outputsOf(model)).toEqual(expected);
  stirFactors(model);
  const adapted = outputsOf(model);
  expect(adapted).not.toBeAllClose(expected);
  expect(outputsOf(await reloaded(model))).toEqual(adapted);
  await train(model, inputs);
  const trained = outputsOf(model);
  expect(trained).not.toEqual(adapted);
  expect(outputsOf(mergeLoRA(model))).toBeAllClose(trained);
  expect(outputsOf(removeLoRA(model))).toEqual(expected);
});

// Keras 3 saves the layer inside with the prefix that Keras 2 and tfjs add to it.
test.each(['keras-2.15-h5-recurrent', 'keras-3.15-h5-recurrent'])('%s has names with one prefix', async name => {
  const model = await loadKerasModel(handlerOf(artifactsOf(name)));
  const both = model.layers.find(layer => layer.getClassName() === 'Bidirectional') as unknown as {
    forwardLayer: tf.layers.Layer;
    backwardLayer: tf.layers.Layer;
  };
  expect([both.forwardLayer.name, both.backwardLayer.name]).toEqual(['forward_gru', 'backward_gru']);
});

test('states that go into a stack of cells are refused', async () => {
  const cell = (units: number) => ({class_name: 'LSTMCell', config: {name: `cell_${units}`, units}});
  const input = (name: string, shape: number[]) => ({
    class_name: 'InputLayer',
    config: {name, batch_input_shape: [null, ...shape]},
    name,
    inbound_nodes: [],
  });
  const layers = [
    input('x', [4, 2]),
    ...['a', 'b', 'c', 'd'].map(name => input(name, [3])),
    {
      class_name: 'RNN',
      name: 'rnn',
      config: {name: 'rnn', cell: {class_name: 'StackedRNNCells', config: {name: 's', cells: [cell(3), cell(3)]}}},
      inbound_nodes: [['x', 'a', 'b', 'c', 'd'].map(name => [name, 0, 0, {}])],
    },
  ];
  const config = {
    name: 'model',
    layers,
    input_layers: ['x', 'a', 'b', 'c', 'd'].map(name => [name, 0, 0]),
    output_layers: [['rnn', 0, 0]],
  };
  const modelTopology = {keras_version: '2.15.0', model_config: {class_name: 'Functional', config}};
  const loading = loadKerasModel({
    load: () => Promise.resolve({modelTopology, weightSpecs: [], weightData: new ArrayBuffer(0)}),
  });
  await expect(loading).rejects.toThrow('"rnn" (RNN): tfjs orders the states of a stack of cells differently.');
});
