import * as tf from '@tensorflow/tfjs';
import {LoRAError} from 'tfjs-lora';
import {layerFromEntry} from '../../src/tfjs/configs';

// Nothing here imports tfjs-lora/graph or tfjs-lora/transformers, which register layers of their own.

describe.each(['GraphOp', 'FusedConv2D'])('a %s that is not registered', className => {
  test('is refused with the import that registers it', () => {
    const make = () => layerFromEntry({className, config: {name: 'half'}});
    expect(make).toThrow(LoRAError);
    expect(make).toThrow(
      `Layer "half" is a ${className}, which is not registered. Import it first: import 'tfjs-lora/graph'.`,
    );
  });

  test('is refused alike inside a frozen layer of an adapted model that is loaded', async () => {
    const frozen = {className: 'FrozenLayer', config: {name: 'half', layer: {className, config: {name: 'half'}}}};
    const input = {className: 'InputLayer', config: {batchInputShape: [null, 3], dtype: 'float32', name: 'x'}};
    const modelTopology = {className: 'Sequential', config: {name: 'm', layers: [input, frozen]}};
    const loaded = tf.loadLayersModel(tf.io.fromMemory({modelTopology}));
    await expect(loaded).rejects.toThrow(/import 'tfjs-lora\/graph'/);
  });
});

test('an Attention that is not registered is refused with the import that registers it', () => {
  const make = () => layerFromEntry({className: 'Attention', config: {name: 'half', heads: 1}});
  expect(make).toThrow("which is not registered. Import it first: import 'tfjs-lora/transformers'.");
});

test('a class of your own that is not registered is refused with the call that registers it', () => {
  const make = () => layerFromEntry({className: 'Mine', config: {name: 'half'}});
  expect(make).toThrow(/tf\.serialization\.registerClass\(Mine\)/);
});
