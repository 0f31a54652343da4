import * as tf from '@tensorflow/tfjs';
import {LoRAError} from 'tfjs-lora';
import {layerFromEntry} from '../../../src/platform/tfjs/configs';

// Nothing here imports tfjs-lora/graph or tfjs-lora/transformers, which register layers of their own.

describe.each(['tfjs-lora/graph>GraphOp', 'tfjs-lora/graph>FusedConv2D'])('a %s that is not registered', className => {
  test('is refused with the import that registers it', () => {
    const make = () => layerFromEntry({className, config: {name: 'half'}});
    expect(make).toThrow(LoRAError);
    expect(make).toThrow(
      `Layer "half" is a ${className}, which is not registered. Import it first: import 'tfjs-lora/graph'.`,
    );
  });

  test('is also refused inside a frozen layer of an adapted model that is loaded', async () => {
    const frozen = {
      className: 'tfjs-lora>FrozenLayer',
      config: {name: 'half', layer: {className, config: {name: 'half'}}},
    };
    const input = {className: 'InputLayer', config: {batchInputShape: [null, 3], dtype: 'float32', name: 'x'}};
    const modelTopology = {className: 'Sequential', config: {name: 'm', layers: [input, frozen]}};
    const loaded = tf.loadLayersModel(tf.io.fromMemory({modelTopology}));
    await expect(loaded).rejects.toThrow(/import 'tfjs-lora\/graph'/);
  });
});

test('an Attention that is not registered is refused with the import that registers it', () => {
  const make = () => layerFromEntry({className: 'tfjs-lora/transformers>Attention', config: {name: 'half', heads: 1}});
  expect(make).toThrow("which is not registered. Import it first: import 'tfjs-lora/transformers'.");
});

test('a layer by the name that an earlier version wrote is refused with where it may be', () => {
  const make = () => layerFromEntry({className: 'GraphOp', config: {name: 'half'}});
  expect(make).toThrow(
    'which is not registered. Call tf.serialization.registerClass(GraphOp) first, or import the part of tfjs-lora ' +
      "that has it, such as 'tfjs-lora/graph'.",
  );
});

test('a class of your own that is not registered is refused with the call that registers it', () => {
  const make = () => layerFromEntry({className: 'Mine', config: {name: 'half'}});
  expect(make).toThrow(/tf\.serialization\.registerClass\(Mine\)/);
});
