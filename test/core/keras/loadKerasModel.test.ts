import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, getAdapter, loadKerasModel, mergeLoRA, setAdapter} from 'tfjs-lora';
import 'tfjs-lora/transformers';
import {numbers, random, withoutLeaks} from '../../helpers';
import {artifactsOf, computedByKeras, handlerOf} from './converted';

type Topology = {model_config: {config: {layers: {class_name: string; config: Record<string, unknown>}[]}}};

/** A model of the fixtures, with something changed in the config of the first layer of a class. */
function changed(name: string, className: string, settings: Record<string, unknown>): tf.io.ModelArtifacts {
  const artifacts = artifactsOf(name);
  const {layers} = (artifacts.modelTopology as Topology).model_config.config;
  Object.assign(layers.find(({class_name}) => class_name === className)!.config, settings);
  return artifacts;
}

function load(artifacts: tf.io.ModelArtifacts): Promise<tf.LayersModel> {
  return loadKerasModel(handlerOf(artifacts));
}

async function expectRefused(artifacts: tf.io.ModelArtifacts, lines: string[]): Promise<void> {
  await withoutLeaks(async () => {
    const message = await load(artifacts).then(
      () => 'loaded',
      (error: unknown) => (error as Error).message,
    );
    expect(message.split('\n')).toEqual(['The Keras model cannot be loaded:', ...lines.map(line => `  ${line}`)]);
  });
}

test('a file whose root is a layer is refused', async () => {
  const artifacts = artifactsOf('keras-3.15-h5-transformer');
  const topology = artifacts.modelTopology as {model_config: object};
  topology.model_config = {class_name: 'Dense', config: {name: 'alone', units: 2}};
  await expectRefused(artifacts, ['"alone" (Dense) is not a model.']);
});

describe('a transformer of Keras 3', () => {
  const NAME = 'keras-3.15-h5-transformer';

  test('is adapted, trained, merged and freed', async () => {
    await withoutLeaks(async () => {
      const {inputs, outputs} = computedByKeras(NAME);
      const base = await load(artifactsOf(NAME));
      const adapted = applyLoRA(base, {rank: 2});
      const before = tf.tidy(() => numbers(adapted.predict(inputs) as tf.Tensor));
      outputs[0]!.values.forEach((value, i) => expect(before[i]).toBeCloseTo(value, 5));
      const adapter = getAdapter(adapted);
      const paths = Object.keys(adapter.config.layers);
      expect(paths).toEqual(expect.arrayContaining(['attention_query', 'attention_output', 'crossed_value', 'wide']));

      const targets = random([2, 2], 3);
      const optimizer = tf.train.adam(0.05);
      adapted.compile({optimizer, loss: 'meanSquaredError'});
      const {history} = await adapted.fit(inputs, targets, {epochs: 30, verbose: 0});
      const losses = history.loss as number[];
      expect(losses.at(-1)).toBeLessThan(losses[0]! / 4);

      const merged = mergeLoRA(adapted);
      const [ofMerged, ofAdapted] = tf.tidy(() =>
        [merged, adapted].map(model => numbers(model.predict(inputs) as tf.Tensor)),
      );
      ofMerged!.forEach((value, i) => expect(value).toBeCloseTo(ofAdapted![i]!, 4));
      expect(tf.tidy(() => numbers(base.predict(inputs) as tf.Tensor))).toEqual(before);

      setAdapter(adapted, adapter);
      expect(tf.tidy(() => numbers(adapted.predict(inputs) as tf.Tensor))).toEqual(before);
      tf.dispose([inputs, targets, adapter.tensors]);
      [adapted, merged, base].forEach(disposeModel);
      optimizer.dispose();
    });
  });

  test('is saved and loaded by tfjs', async () => {
    const {inputs} = computedByKeras(NAME);
    const model = await load(artifactsOf(NAME));
    let saved: tf.io.ModelArtifacts = {};
    const save = (artifacts: tf.io.ModelArtifacts) => {
      saved = artifacts;
      return Promise.resolve({modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON' as const}});
    };
    await model.save({save});
    const again = await tf.loadLayersModel(handlerOf(saved));
    const [first, second] = [model, again].map(each => numbers(each.predict(inputs) as tf.Tensor));
    expect(second).toEqual(first);
  });

  test('keeps the metadata of its file', async () => {
    const userDefinedMetadata = {labels: ['a', 'b']};
    const model = await load({...artifactsOf(NAME), userDefinedMetadata});
    expect(model.getUserDefinedMetadata()).toEqual(userDefinedMetadata);
  });

  test('says which dropout it leaves out', async () => {
    const warn = jest.spyOn(console, 'warn').mockImplementation();
    disposeModel(await load(changed(NAME, 'MultiHeadAttention', {dropout: 0.1})));
    expect(warn.mock.calls).toEqual([
      [
        'In training, the model differs from the one in Keras: "attention" (MultiHeadAttention) has no ' +
          'dropout (0.1 in Keras) on its attention weights.',
      ],
    ]);
  });

  test.each([
    [{attention_axes: [2]}, '"attention" (MultiHeadAttention): there is no attention_axes=[2] here.'],
    [{use_gate: true}, '"attention" (MultiHeadAttention): there is no use_gate=true here.'],
  ])('with %j is refused', async (settings, line) => {
    await expectRefused(changed(NAME, 'MultiHeadAttention', settings), [line]);
  });
});

describe('a file that does not fit', () => {
  test('is refused with a line for each fault, and leaves nothing', async () => {
    const artifacts = changed('keras-3.15-h5-conv', 'ReLU', {softness: 1});
    const {layers} = (artifacts.modelTopology as Topology).model_config.config;
    layers.find(({class_name}) => class_name === 'Flatten')!.class_name = 'Flattened';
    layers.find(({class_name}) => class_name === 'Dropout')!.class_name = 'GroupQueryAttention';
    await expectRefused(artifacts, [
      '"re_lu" (ReLU): tfjs has no softness=1.',
      '"dropout" (GroupQueryAttention): tfjs has no such layer, and none is registered.',
      '"flatten" (Flattened): tfjs has no such layer, and none is registered.',
    ]);
  });

  test('names operations without a layer where they stand', async () => {
    const artifacts = artifactsOf('keras-2.13-h5-functions');
    const {layers} = (artifacts.modelTopology as Topology).model_config.config;
    layers.find(({config}) => config.name === 'one')!.class_name = 'First';
    layers.find(({config}) => config.name === 'two')!.class_name = 'Last';
    Object.assign(layers.find(({config}) => config.name === 'tf.math.multiply')!.config, {function: 'math.erf'});
    await expectRefused(artifacts, [
      '"one" (First): tfjs has no such layer, and none is registered.',
      '"tf.math.multiply" (TFOpLambda) is an operation between tensors or numbers, for which tfjs has no layer.',
      '"two" (Last): tfjs has no such layer, and none is registered.',
    ]);
  });

  test('names weights that are missing, too many, or of another shape', async () => {
    const artifacts = artifactsOf('keras-3.15-h5-conv');
    const specs = artifacts.weightSpecs!;
    specs.find(({name}) => name.endsWith('dense/bias'))!.name = 'pictures/dense/other';
    specs.find(({name}) => name.endsWith('conv2d/kernel'))!.shape = [3, 3, 4, 3];
    await expectRefused(artifacts, [
      'pictures/conv2d/kernel: shape [3, 3, 4, 3] in the file, [3, 3, 3, 4] in the model.',
      'pictures/dense/other: there is no such weight in the model.',
      'conv2d/kernel: not in the file.',
      'dense/bias: not in the file.',
    ]);
  });

  test('has a weight twice, under two names', async () => {
    const artifacts = artifactsOf('keras-3.15-h5-conv');
    const bias = artifacts.weightSpecs!.at(-1)!;
    expect(bias.name).toBe('pictures/depthwise_conv2d/bias');
    const bytes = new Uint8Array(artifacts.weightData as ArrayBuffer);
    const size = 4 * bias.shape[0]!;
    const message = await load({
      ...artifacts,
      weightSpecs: [...artifacts.weightSpecs!, {...bias, name: 'depthwise_conv2d/bias'}],
      weightData: Uint8Array.from([...bytes, ...bytes.subarray(-size)]).buffer,
    }).catch(String);
    expect(message).toContain('depthwise_conv2d/bias: the file has this weight twice.');
  });

  test.each<[what: string, change: (config: Record<string, unknown>) => void, line: string]>([
    [
      'calls that cannot be read',
      ({layers}) => {
        const both = (layers as {config: {name: string}}[]).find(({config}) => config.name === 'both')!;
        Object.assign(both, {inbound_nodes: 'left'});
      },
      '"both" (Dense): its inbound_nodes cannot be read.',
    ],
    [
      'inputs that cannot be read',
      config => (config.input_layers = 5),
      '"pairs" (Functional): its input_layers cannot be read.',
    ],
    [
      'outputs of which one cannot be read',
      config => (config.output_layers = [['same', 0, 0], 'kinds']),
      '"pairs" (Functional): its output_layers cannot be read.',
    ],
  ])('has %s', async (_, change, line) => {
    const artifacts = artifactsOf('keras-3.15-h5-shared');
    change((artifacts.modelTopology as Topology).model_config.config);
    expect(await load(artifacts).catch(String)).toContain(line);
  });

  test('has layers inside of others that cannot be there', async () => {
    const artifacts = artifactsOf('keras-3.15-h5-recurrent');
    const {layers} = (artifacts.modelTopology as Topology).model_config.config;
    layers.find(({class_name}) => class_name === 'Embedding')!.config.softness = 1;
    const both = layers.find(({class_name}) => class_name === 'Bidirectional')!;
    const inner = both.config.layer as {class_name: string; config: object};
    both.config.backward_layer = {...inner, config: {...inner.config, activation: 'relu', go_backwards: true}};
    const each = layers.find(({class_name}) => class_name === 'TimeDistributed')!;
    each.config.layer = {class_name: 'Nothing', config: {name: 'x'}};
    const message = await load(artifacts).then(() => 'loaded', String);
    expect(message.match(/ (?:tfjs has .*|cannot have .*)/g)).toEqual([
      ' tfjs has no softness=1.',
      ' tfjs has one layer in both directions, and the backward one differs.',
      ' cannot have a "Nothing" inside.',
    ]);
  });

  test('takes no more memory than its weights', async () => {
    const message = await load(changed('keras-3.15-h5-conv', 'Dense', {units: 2 ** 30})).catch(
      (error: unknown) => (error as Error).message,
    );
    expect(message).toMatch(/its weight kernel would be of shape \[64, 1073741824\], which is too large/);
  });

  test.each([
    ['no layers', {layers: []}],
    ['layers that are none', {layers: [1, null]}],
  ])('has %s', async (_, settings) => {
    const artifacts = artifactsOf('keras-3.15-h5-conv');
    Object.assign((artifacts.modelTopology as Topology).model_config.config, settings);
    await expectRefused(artifacts, ['"pictures" (Sequential): its layers must be a list of class names and configs.']);
  });

  test('has two layers of one name', async () => {
    const artifacts = artifactsOf('keras-3.15-h5-shared');
    const {layers} = (artifacts.modelTopology as Topology).model_config.config;
    const kinds = layers.find(({config}) => config.name === 'kinds')! as {name?: string; config: {name?: string}};
    kinds.name = kinds.config.name = 'same';
    const message = await load(artifacts).catch(String);
    expect(message).toContain('"pairs" (Functional): two layers would be called "same".');
  });

  test.each(['nobody', 'both'])('has a layer that waits for %s without end', async name => {
    const artifacts = artifactsOf('keras-3.15-h5-shared');
    const text = JSON.stringify(artifacts.modelTopology).replace(
      '"keras_history":["left",0,0]',
      `"keras_history":["${name}",5,0]`,
    );
    await withoutLeaks(async () => {
      await expect(load({...artifacts, modelTopology: JSON.parse(text) as object})).rejects.toThrow(
        `"both" (Dense) is called with [["${name}",5,0,{}]], which no layer returns.`,
      );
    });
  });

  test('has a call with more than tensors', async () => {
    const artifacts = artifactsOf('keras-3.15-h5-shared');
    const text = JSON.stringify(artifacts.modelTopology).replace('"kwargs":{"mask":null}', '"kwargs":{"mask":true}');
    await expectRefused({...artifacts, modelTopology: JSON.parse(text) as object}, [
      '"tower" (Functional): a call may have only tensors in tfjs, got mask=true.',
    ]);
  });

  test.each(['2.13-h5', '3.15-h5'])('has a model inside without a name (%s)', async version => {
    const artifacts = artifactsOf(`keras-${version}-shared`);
    const {layers} = (artifacts.modelTopology as Topology).model_config.config;
    const inner = layers.find(({config}) => config.name === 'steps')! as {name?: string; config: {name?: string}};
    delete inner.name;
    delete inner.config.name;
    await withoutLeaks(async () => {
      await expect(load(artifacts)).rejects.toThrow('"" (Sequential) has no name, so the file cannot refer to it.');
    });
  });

  test.each([
    ['no name', '"name":"head","inbound', '"inbound', 'A layer "Dense" has no name, so the file cannot refer to it.'],
    [
      'no such layer',
      '[["body",0',
      '[["nobody",0',
      '"head" (Dense) is called with [["nobody",0,0,{}]], which no layer',
    ],
    [
      'no such layer, and keys in camel case',
      '"inbound_nodes":[[["body",0',
      '"inboundNodes":[[["nobody",0',
      '"head" (Dense) is called with [["nobody",0,0,{}]], which no layer',
    ],
    [
      'text for a tensor of a call',
      '[["body",0,0,{}]]',
      '["tfx"]',
      '"head" (Dense) is called with ["tfx"], which is no call.',
    ],
    [
      'a call that is partly of no lists',
      '[["body",0,0,{}]]',
      '[["nobody",0,0,{}],5]',
      '"head" (Dense) is called with [["nobody",0,0,{}],5], which is no call.',
    ],
  ])('is of tfjs, and would keep it waiting without end: %s', async (_, found, instead, message) => {
    const dense = (name: string, from: string) => ({
      name,
      inbound_nodes: [[[from, 0, 0, {}]]],
      class_name: 'Dense',
      config: {name, units: 2, activation: 'linear'},
    });
    const input = {
      name: 'x',
      inbound_nodes: [],
      class_name: 'InputLayer',
      config: {name: 'x', batch_input_shape: [null, 2]},
    };
    const config = {
      name: 'm',
      layers: [input, dense('body', 'x'), dense('head', 'body')],
      input_layers: [['x', 0, 0]],
      output_layers: [['head', 0, 0]],
    };
    const text = JSON.stringify({class_name: 'Model', config, keras_version: 'tfjs-layers 4.22.0'});
    expect(text).toContain(found);
    const refusalOf = (changedText: string) => {
      const modelTopology = JSON.parse(changedText) as object;
      return expect(load({modelTopology, weightSpecs: [], weightData: new ArrayBuffer(0)})).rejects;
    };
    await refusalOf(text.replace(found, instead)).toThrow(message);
    const both = text.replace(found, instead).replace('"name":"body","inbound', '"inbound').replace('Dense', 'Bent');
    await refusalOf(both).toThrow(/A layer "Bent" has no name.*\n.*head|A layer "Bent" has no name.*\n.*"Dense"/);
  });

  test('has no weights', async () => {
    const {modelTopology} = artifactsOf('keras-3.15-h5-conv');
    await expectRefused({modelTopology: modelTopology!}, [
      'The weights are missing: loadKerasModel needs them in addition to the topology.',
    ]);
  });
});

describe('everything else goes to tfjs', () => {
  test('as it is: a model that tfjs saved', async () => {
    const model = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3], name: 'own'})]});
    let saved: tf.io.ModelArtifacts = {};
    const save = (artifacts: tf.io.ModelArtifacts) => {
      saved = artifacts;
      return Promise.resolve({modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON' as const}});
    };
    await model.save({save});
    const loaded = await load(saved);
    const x = random([2, 3], 1);
    expect(numbers(loaded.predict(x) as tf.Tensor)).toEqual(numbers(model.predict(x) as tf.Tensor));
  });

  test.each([undefined, null, 3, {}])('a source of %p is refused', async source => {
    await expect(loadKerasModel(source as string)).rejects.toThrow('a handler of tf.io that can load');
  });

  test('of a source, nothing is read after its signal was aborted', async () => {
    const handler = {load: jest.fn()};
    const loading = loadKerasModel(handler, {signal: AbortSignal.abort()});
    await expect(loading).rejects.toMatchObject({code: 'ERR_ABORTED'});
    expect(handler.load).not.toHaveBeenCalled();
  });

  test('a layer of one’s own is made of its config', async () => {
    class Doubled extends tf.layers.Layer {
      static readonly className = 'Doubled';
      override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
        return tf.mul([inputs].flat()[0]!, 2);
      }
    }
    tf.serialization.registerClass(Doubled);
    const artifacts = artifactsOf('keras-3.15-h5-conv');
    const {layers} = (artifacts.modelTopology as Topology).model_config.config;
    layers.find(({class_name}) => class_name === 'Dropout')!.class_name = 'Doubled';
    const model = await load(artifacts);
    expect(model.getLayer('dropout')).toBeInstanceOf(Doubled);
  });
});
