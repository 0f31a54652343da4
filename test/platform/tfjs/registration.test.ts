import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../../../src/platform/errors';
import {numbers, useBackend, withoutLeaks} from '../../helpers';

type Library = typeof import('../../../src') &
  typeof import('../../../src/graph') &
  typeof import('../../../src/quantized') &
  typeof import('../../../src/transformers') &
  typeof import('../../../src/extensions/transformers/layers/pairLayers') &
  typeof import('../../../src/extensions/transformers/layers/scaling') &
  typeof import('../../../src/extensions/transformers/layers/visionLayers');

/** Classes of tfjs itself. */
const STOCK = new Set(Object.keys(tf.serialization.SerializationMap.getMap().classNameMap));

/** A class of a user under a name that this library has too: `x + 1`. */
function ownClass(className: string): typeof tf.layers.Layer {
  class PlusOne extends tf.layers.Layer {
    static readonly className = className;

    override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
      return tf.add([inputs].flat()[0]!, 1);
    }
  }
  return PlusOne;
}

/** Names that a user registers before this library is imported, and others afterwards. */
const BEFORE = ['Scaling', 'Attention', 'GraphOp', 'QuantizedDense', 'LoRADense', 'FrozenLayer', 'TiedDense'];
const AFTER = ['LayerScale', 'PositionEmbedding', 'FusedConv2D', 'QuantizedConv2D', 'LoRAConv2D', 'TrainedLayer'];

const users = new Map<string, typeof tf.layers.Layer>();
let library: Library;

function register(names: readonly string[]): void {
  for (const name of names) {
    const own = ownClass(name);
    users.set(name, own);
    tf.serialization.registerClass(own as unknown as Parameters<typeof tf.serialization.registerClass>[0]);
  }
}

beforeAll(async () => {
  await useBackend('cpu');
  register(BEFORE);
  library = {
    ...(await import('../../../src')),
    ...(await import('../../../src/graph')),
    ...(await import('../../../src/quantized')),
    ...(await import('../../../src/transformers')),
    ...(await import('../../../src/extensions/transformers/layers/pairLayers')),
    ...(await import('../../../src/extensions/transformers/layers/scaling')),
    ...(await import('../../../src/extensions/transformers/layers/visionLayers')),
  };
  register(AFTER);
});

/** What `model.save` writes, read again by tfjs. */
async function throughFile(model: tf.LayersModel): Promise<{loaded: tf.LayersModel; text: string}> {
  let saved: tf.io.ModelArtifacts = {};
  const save = (artifacts: tf.io.ModelArtifacts) => {
    saved = artifacts;
    return Promise.resolve({modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON' as const}});
  };
  await model.save({save});
  const loaded = await tf.loadLayersModel({load: () => Promise.resolve(saved)});
  return {loaded, text: JSON.stringify(saved.modelTopology)};
}

/** A model of one layer, as a file has it. */
function fileOf(className: string, config: object): tf.io.IOHandler {
  const input = {class_name: 'InputLayer', config: {batch_input_shape: [null, 2], dtype: 'float32', name: 'x'}};
  const layers = [input, {class_name: className, config: {name: 'it', trainable: true, ...config}}];
  const modelTopology = {model_config: {class_name: 'Sequential', config: {name: 'm', layers}}};
  return {load: () => Promise.resolve({modelTopology, weightSpecs: [], weightData: new ArrayBuffer(0)})};
}

test.each([...BEFORE, ...AFTER])('a %s of a user stays registered, and loads from files', async name => {
  const {classNameMap} = tf.serialization.SerializationMap.getMap();
  expect(classNameMap[name]?.[0]).toBe(users.get(name));
  const model = await tf.loadLayersModel(fileOf(name, {}));
  expect(numbers(model.predict(tf.tensor2d([[1, 2]])) as tf.Tensor)).toEqual([2, 3]);
});

test('each class of this library is registered under a name that begins with its entry point', () => {
  const {classNameMap} = tf.serialization.SerializationMap.getMap();
  const others = Object.entries(classNameMap).filter(([name]) => !STOCK.has(name) && !users.has(name));
  const [own, former] = [/^tfjs-lora(\/[a-z]+)?>[A-Za-z]/, /^[A-Z]\w*$/];
  for (const [name, [registered]] of others) {
    expect([name, (registered as unknown as {className: string}).className]).toEqual([
      expect.stringMatching(former.test(name) ? former : own),
      expect.stringMatching(own),
    ]);
  }
  expect(others.length).toBeGreaterThan(80);
});

test('models of both load side by side', async () => {
  await withoutLeaks(async () => {
    const {Scaling} = library;
    const UserScaling = users.get('Scaling')! as unknown as new (args: {name: string}) => tf.layers.Layer;
    const model = tf.sequential({
      layers: [
        tf.layers.inputLayer({inputShape: [2]}),
        new Scaling({factor: 3, name: 'ours'}),
        new UserScaling({name: 'theirs'}),
      ],
    });
    const {loaded} = await throughFile(model);
    const y = tf.tidy(() => numbers(loaded.predict(tf.tensor2d([[1, 2]])) as tf.Tensor));
    expect(y).toEqual([4, 7]);
    [model, loaded].forEach(each => each.dispose());
  });
});

test('a model is adapted, saved, loaded and merged where a user has classes of the same names', async () => {
  await withoutLeaks(async () => {
    const {applyLoRA, disposeModel, mergeLoRA} = library;
    const model = tf.sequential({
      layers: [
        tf.layers.conv2d({filters: 2, kernelSize: 1, inputShape: [2, 2, 1], name: 'conv'}),
        tf.layers.flatten(),
        tf.layers.dense({units: 3, name: 'dense'}),
        tf.layers.dense({units: 2, name: 'head'}),
      ],
    });
    const adapted = applyLoRA(model, {rank: 1, targets: ['conv', 'dense'], trainInFull: ['head']});
    const {loaded, text} = await throughFile(adapted);
    expect(text).toContain('"class_name":"tfjs-lora>LoRADense"');
    const merged = mergeLoRA(loaded);
    const x = tf.ones([1, 2, 2, 1]);
    const [expected, ...others] = [model, adapted, loaded, merged].map(each =>
      tf.tidy(() => numbers(each.predict(x) as tf.Tensor)),
    );
    others.forEach(y => expect(y).toBeAllClose(expected!));
    x.dispose();
    [merged, loaded, adapted, model].forEach(disposeModel);
  });
});

test('automatic names of layers come from the short names of classes', () => {
  const {Attention, Gelu, LayerScale} = library;
  expect(new Attention({heads: 1}).name).toMatch(/^attention_Attention\d+$/);
  expect(new Gelu().name).toMatch(/^gelu_Gelu\d+$/);
  expect(new Gelu().getClassName()).toBe('tfjs-lora/transformers>Gelu');
  expect(new LayerScale().name).toMatch(/^layer_scale_LayerScale\d+$/);
  class Softer extends Gelu {
    static override readonly className = 'Softer' as 'tfjs-lora/transformers>Gelu';
  }
  expect(new Softer().name).toMatch(/^softer_Softer\d+$/);
  expect(new Softer().getClassName()).toBe('Softer');
});

test('targets match layers by the short names of their classes', () => {
  const {applyLoRA, Gelu, getAdapter, LayerScale, registerAdaptable, TokenState} = library;
  expect([LayerScale, TokenState].map(({className}) => className)).toEqual([
    'tfjs-lora/transformers>LayerScale',
    'tfjs-lora/transformers>TokenState',
  ]);
  expect(() => registerAdaptable('Gelu', {weights: ['none']})).not.toThrow();
  const model = tf.sequential({
    layers: [tf.layers.dense({units: 2, inputShape: [2], name: 'dense'}), new Gelu({name: 'gelu'})],
  });
  expect(() => applyLoRA(model, {targets: ['Gelu']})).toThrow(/"gelu"/);
  const adapted = applyLoRA(model, {targets: ['Dense'], rank: 1});
  const adapter = getAdapter(adapted);
  expect(adapter.config.layers.dense?.className).toBe('Dense');
});

describe('a file under the name that an earlier version wrote', () => {
  test.each([
    ['Gelu', {approximate: false}],
    ['GatedActivation', {activation: 'silu', approximate: false, packed: true}],
    ['RMSNormalization', {epsilon: 1e-6}],
    ['BiasLayer', {layer: {class_name: 'Dense', config: {name: 'it', units: 2}}}],
  ])('loads, where the name is free: %s', async (name, config) => {
    const model = await tf.loadLayersModel(fileOf(name, config), {strict: false});
    expect(model.layers.at(-1)!.getClassName()).toMatch(new RegExp(`^tfjs-lora.*>${name}$`));
  });

  test.each([
    // Those of Keras 3, as it writes them.
    ['RMSNormalization', {axis: -1, epsilon: 1e-6, dtype: 'float32'}, 'it has no axis.'],
    ['SequencePooling', {mode: 'mean', units: 3}, 'it has no units.'],
    ['GatedActivation', {activation: 'tanh'}, 'activation must be'],
  ])('is refused, where the config is one of another class: %s', async (name, config, reason) => {
    const loading = tf.loadLayersModel(fileOf(name, config));
    await expect(loading).rejects.toThrow(LoRAError);
    await expect(tf.loadLayersModel(fileOf(name, config))).rejects.toThrow(
      `"it" is read as tfjs-lora/transformers>${name}, which earlier versions called ${name}: ${reason}`,
    );
  });
});
