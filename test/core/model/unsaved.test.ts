import * as tf from '@tensorflow/tfjs';
import {getAdapter, setAdapter, withAdapter} from '../../../src/core/model/currentAdapter';
import {predictWith} from '../../../src/core/model/predictWith';
import {saveAdapter} from '../../../src/core/peft/saveAdapter';
import {isLoRALayer} from '../../../src/core/layers/loraLayer';
import {adaptLayer} from '../../../src/core/layers/registry';
import {FrozenLayer, TrainedLayer} from '../../../src/core/layers/unadaptedLayer';
import {applyLoRA} from '../../../src/core/model/apply';
import {replaceHead} from '../../../src/core/head/replaceHead';
import {summarizeLoRA} from '../../../src/core/model/summary';
import {random} from '../../helpers';
import {MemoryHandler, mlp, predictions, train, ZOO} from '../../models';

const {layers} = tf;
const warnings = () => jest.spyOn(console, 'warn').mockImplementation();

/** A LoRA layer by hand in an otherwise plain model. */
function byHand(): tf.Sequential {
  const body = adaptLayer({layer: layers.dense({units: 4, inputShape: [5], name: 'body'}), rank: 2});
  return tf.sequential({
    layers: [body, layers.batchNormalization({name: 'norm'}), layers.dense({units: 2, name: 'head'})],
  });
}

/** A stock head on an adapted body. */
function headOnBody(): tf.LayersModel {
  const body = applyLoRA(mlp().model, {rank: 2});
  const outputs = layers.dense({units: 2, name: 'new_head'}).apply(body.outputs[0]!) as tf.SymbolicTensor;
  return tf.model({inputs: body.inputs, outputs});
}

test.each<[what: string, make: () => tf.LayersModel, unsaved: string[]]>([
  [
    'a LoRA layer among plain ones',
    byHand,
    ['norm (BatchNormalization): The layer trains.', 'head (Dense): The layer trains.'],
  ],
  ['a stock head on an adapted body', headOnBody, ['new_head (Dense): The layer trains.']],
  [
    'an adapted body in a Sequential with a head',
    () => {
      const model = tf.sequential({layers: [applyLoRA(mlp().model, {rank: 2}), layers.dense({units: 2, name: 'top'})]});
      return model;
    },
    ['top (Dense): The layer trains.'],
  ],
  [
    'a plain normalization that is frozen, which tfjs moves all the same',
    () => {
      const model = byHand();
      model.layers.slice(1).forEach(layer => (layer.trainable = false));
      return model;
    },
    ['norm (BatchNormalization): Training updates its statistics, although it is frozen.'],
  ],
])('%s: what trains and is not saved is warned of once, and in the summary', async (_, make, unsaved) => {
  const model = make();
  const warn = warnings();
  const summary = summarizeLoRA(model);
  expect(warn).not.toHaveBeenCalled();
  expect(summary.unsaved.map(({path, className, reason}) => `${path} (${className}): ${reason}`)).toEqual(unsaved);
  unsaved.forEach(line => expect(String(summary)).toContain(`not in the adapter: ${line}`));

  getAdapter(model);
  getAdapter(model);
  await saveAdapter(model, new MemoryHandler());
  expect(warn).toHaveBeenCalledTimes(1);
  const [message] = warn.mock.calls[0] as [string];
  unsaved.forEach(line => expect(message).toContain(`\n  ${line}\n`));
  expect(message).toMatch(/applyLoRA make the model.*replaceHead.*new TrainedLayer.*new FrozenLayer.*model\.save/);
});

test('a base that is made trainable inside a LoRA layer is reported', () => {
  const warn = warnings();
  const model = applyLoRA(mlp().model, {rank: 2});
  const [lora] = model.layers.filter(isLoRALayer);
  getAdapter(model).dispose();
  expect(warn).not.toHaveBeenCalled();
  lora!.baseLayer.trainable = true;
  getAdapter(model).dispose();
  expect(warn.mock.calls.join('')).toContain(`${lora!.name} (LoRADense): Its base trains`);
});

test('saving warns by itself, and switching does not', async () => {
  const warn = warnings();
  const model = byHand();
  setAdapter(model, null);
  withAdapter(model, null, () => 1);
  predictWith(model, tf.ones([1, 5]), [null]);
  expect(warn).not.toHaveBeenCalled();
  await saveAdapter(model, new MemoryHandler());
  expect(warn).toHaveBeenCalledTimes(1);
});

test('what the warning advises brings the outputs back', async () => {
  const warn = warnings();
  const make = (seed: number) => {
    const start = () => ({kernelInitializer: tf.initializers.glorotUniform({seed: seed++})});
    return tf.sequential({
      layers: [
        adaptLayer({layer: layers.dense({units: 4, inputShape: [5], name: 'body', ...start()}), rank: 2, seed: 1}),
        new FrozenLayer({layer: layers.batchNormalization({name: 'norm'})}),
        new TrainedLayer({layer: layers.dense({units: 2, name: 'head', ...start()})}),
      ],
    });
  };
  const [model, x] = [make(3), random([4, 5], 1)];
  await train(model, [x]);
  const adapter = getAdapter(model);
  const fresh = make(3);
  setAdapter(fresh, adapter);
  expect(predictions(fresh, [x])).toEqual(predictions(model, [x]));
  expect(summarizeLoRA(model).unsaved).toEqual([]);
  expect(warn).not.toHaveBeenCalled();
});

test.each(ZOO)('applyLoRA leaves nothing unsaved in %s', (_, make) => {
  const warn = warnings();
  for (const config of [{rank: 1}, {rank: 1, bias: 'all'}, {rank: 1, freezeBaseLayer: false}] as const) {
    const adapted = applyLoRA(make().model, config);
    expect(summarizeLoRA(adapted).unsaved).toEqual([]);
    getAdapter(adapted);
  }
  const headed = applyLoRA(replaceHead(mlp().model, [layers.dense({units: 2, name: 'classes'})]), {rank: 1});
  expect(summarizeLoRA(headed).unsaved).toEqual([]);
  expect(warn).not.toHaveBeenCalled();
});
