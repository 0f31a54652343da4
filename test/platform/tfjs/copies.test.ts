import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  disposeModel,
  exportPEFT,
  fitOnFeatures,
  getAdapter,
  loadAdapter,
  LoRAError,
  mergeLoRA,
  predictWith,
  removeLoRA,
  replaceHead,
  resetOptimizer,
  saveAdapter,
  setAdapter,
  summarizeLoRA,
  trainableVariables,
  TrainedLayer,
  withAdapter,
} from '../../../src';
import {adaptLayer} from '../../../src/layers';
import {cnn, MemoryHandler, mlp} from '../../models';
import {useBackend} from '../../helpers';

type Tfjs = typeof tf;

/**
 * A second copy of tfjs, as npm installs one in the folder of another package: classes of its own, the same tensors.
 */
let copy: Tfjs;
/** One of another realm, as a frame has it: tensors of its own too. */
let stranger: Tfjs;

/** What is global in the realm of the other one. */
const realm: {_tfengine?: unknown; _tfGlobals?: unknown} = {};

/** Runs `f` in the other realm. */
function there<T>(f: () => T): T {
  const space = globalThis as typeof realm;
  const here = {_tfengine: space._tfengine, _tfGlobals: space._tfGlobals};
  Object.assign(space, {_tfengine: undefined, _tfGlobals: undefined}, realm);
  try {
    return f();
  } finally {
    Object.assign(realm, {_tfengine: space._tfengine, _tfGlobals: space._tfGlobals});
    Object.assign(space, here);
  }
}

function load(): Tfjs {
  let loaded: Tfjs | undefined;
  jest.isolateModules(() => {
    // oxlint-disable-next-line typescript/no-require-imports
    loaded = require('@tensorflow/tfjs') as Tfjs;
  });
  return loaded!;
}

beforeAll(async () => {
  await useBackend('cpu');
  jest.spyOn(console, 'warn').mockImplementation(); // tfjs warns that it is there already
  copy = load();
  stranger = there(load);
  there(() => stranger.enableProdMode());
});

const MESSAGE = /is of another copy of TensorFlow\.js than .*npm ls @tensorflow\/tfjs-layers.*npm dedupe/;

async function expectTold(use: () => unknown): Promise<void> {
  const told = Promise.resolve().then(use);
  await expect(told).rejects.toThrow(LoRAError);
  await expect(told).rejects.toThrow(MESSAGE);
}

test('the copies are what they are taken for', () => {
  const model = copy.sequential({layers: [copy.layers.dense({units: 1, inputShape: [2]})]});
  expect(model instanceof tf.LayersModel).toBe(false);
  expect(copy.engine()).toBe(tf.engine());
  expect(stranger.engine()).not.toBe(tf.engine());
});

test.each<[name: string, use: (model: tf.LayersModel) => unknown]>([
  ['applyLoRA', model => applyLoRA(model)],
  ['disposeModel', model => disposeModel(model)],
  ['exportPEFT', model => exportPEFT(model, {adapter: getAdapter(applyLoRA(mlp().model, {rank: 1}))})],
  ['fitOnFeatures', model => fitOnFeatures(model, tf.ones([1, 2]), tf.ones([1, 1]))],
  ['getAdapter', model => getAdapter(model)],
  ["loadAdapter of PEFT's files", model => loadAdapter({config: '{}', weights: new Uint8Array(8)}, {model})],
  ['mergeLoRA', model => mergeLoRA(model)],
  ['predictWith', model => predictWith(model, tf.ones([1, 2]), [null])],
  ['removeLoRA', model => removeLoRA(model)],
  ['replaceHead', model => replaceHead(model, [tf.layers.dense({units: 1})])],
  ['resetOptimizer', model => resetOptimizer(model)],
  ['saveAdapter', model => saveAdapter(model, new MemoryHandler())],
  ['setAdapter', model => setAdapter(model, null)],
  ['summarizeLoRA', model => summarizeLoRA(model)],
  ['trainableVariables', model => trainableVariables(model)],
  ['withAdapter', model => withAdapter(model, null, () => 1)],
])('%s tells that a model is of another copy, and the way out', async (_, use) => {
  const make = (other: Tfjs) => other.sequential({layers: [other.layers.dense({units: 1, inputShape: [2]})]});
  for (const model of [make(copy), there(() => make(stranger))]) {
    await expectTold(() => use(model));
  }
});

test('a layer of another copy is reported', async () => {
  for (const other of [copy, stranger]) {
    const layer = there(() => other.layers.dense({units: 2}));
    await expectTold(() => adaptLayer({layer, rank: 1}));
    await expectTold(() => adaptLayer({layer, weights: ['kernel'], rank: 1}));
    await expectTold(() => new TrainedLayer({layer}));
    await expectTold(() => replaceHead(mlp().model, [layer]));
  }
});

test('a graph model is one, of whichever copy', () => {
  const model = new copy.GraphModel('model.json') as unknown as tf.LayersModel;
  expect(() => applyLoRA(model)).toThrow(/tf\.GraphModel is a fixed graph/);
});

test('a tensor of another realm is reported', async () => {
  const adapted = applyLoRA(cnn().model, {rank: 1, targets: ['head']});
  adapted.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
  const x = there(() => stranger.ones([1, 6, 6, 2]));
  const y = there(() => stranger.ones([1, 3]));
  await expectTold(() => predictWith(adapted, x, [null]));
  await expectTold(() => fitOnFeatures(adapted, x, tf.ones([1, 3])));
  await expectTold(() => fitOnFeatures(adapted, tf.ones([1, 6, 6, 2]), y));
  await expectTold(() => fitOnFeatures(adapted, [tf.ones([1, 6, 6, 2]), x], tf.ones([1, 3])));
  const own = getAdapter(adapted);
  const foreign = {...own, tensors: {...own.tensors, 'head/lora_B': there(() => stranger.zeros([1, 3]))}} as Adapter;
  await expectTold(() => setAdapter(adapted, foreign));
  const layer = adapted.getLayer('head') as unknown as {setParameter(name: string, value: tf.Tensor): void};
  await expectTold(() =>
    layer.setParameter(
      'lora_B',
      there(() => stranger.zeros([1, 3])),
    ),
  );
});

test('a tensor of a copy that shares the engine is as good as any', () => {
  const {model} = mlp();
  const adapted = applyLoRA(model, {rank: 1});
  const x: tf.Tensor = copy.ones([1, 5]);
  expect((predictWith(adapted, x, [null]) as tf.Tensor).shape).toEqual([1, 3]);
});
