import * as tf from '@tensorflow/tfjs';
import {getAdapter} from '../../../src/core/model/currentAdapter';
import {saveAdapter} from '../../../src/core/peft/saveAdapter';
import {loadAdapter} from '../../../src/core/peft/loadAdapter';
import {LoRAError} from '../../../src/platform/errors';
import {applyLoRA} from '../../../src/core/model/apply';
import {mergeLoRA, removeLoRA} from '../../../src/core/model/restore';
import {random, withoutLeaks} from '../../helpers';
import {
  baseWeights,
  cnn,
  factorsOf,
  MemoryHandler,
  nested,
  predictions,
  reloaded,
  stir,
  stirFactors,
  train,
} from '../../models';

type Args = ConstructorParameters<typeof tf.layers.Layer>[0] & {
  factor?: number;
  f?: (x: tf.Tensor) => tf.Tensor;
};

/** A custom layer: `factor · f(x)`, with a weight if it is asked for one. */
class Scale extends tf.layers.Layer {
  static className = 'TestScale';
  protected readonly factor: number;
  private readonly f: (x: tf.Tensor) => tf.Tensor;

  constructor({factor = 1, f = x => x, ...args}: Args = {}) {
    super(args);
    this.factor = factor;
    this.f = f;
  }

  override computeOutputShape(shape: tf.Shape): tf.Shape {
    return shape;
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    return tf.mul(this.f([inputs].flat()[0]!), this.factor);
  }

  override getConfig(): tf.serialization.ConfigDict {
    const f = this.f as unknown as tf.serialization.ConfigDictValue;
    return {...super.getConfig(), factor: this.factor, f};
  }
}

class Forgetful extends Scale {
  static override className = 'TestForgetful';

  override getConfig(): tf.serialization.ConfigDict {
    const {name, trainable} = this;
    return {name, trainable};
  }
}

class Unregistered extends Scale {
  static override className = 'TestUnregistered';
}

/** A custom layer whose kernel has a size that its config does not tell. */
class Shrinking extends tf.layers.Layer {
  static className = 'TestShrinking';

  constructor(
    private readonly sizes: Set<number>,
    args: Args = {},
  ) {
    super(args);
  }

  static override fromConfig<T extends tf.serialization.Serializable>(
    cls: tf.serialization.SerializableConstructor<T>,
    config: tf.serialization.ConfigDict,
  ): T {
    return new (cls as unknown as new (...args: unknown[]) => T)(new Set(), config);
  }

  override build(): void {
    this.addWeight('kernel', [this.sizes.size + 1], 'float32', tf.initializers.ones());
    this.built = true;
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    return tf.clone([inputs].flat()[0]!);
  }
}
[Scale, Forgetful, Shrinking].forEach(each => {
  tf.serialization.registerClass(each);
});

function withLayer(layer: tf.layers.Layer): tf.Sequential {
  const model = tf.sequential({
    layers: [
      tf.layers.dense({units: 4, inputShape: [3], name: 'body'}),
      layer,
      tf.layers.dense({units: 2, name: 'head'}),
    ],
  });
  stir(model);
  return model;
}

describe('custom layers', () => {
  test('are rebuilt from their own config, functions in it included', () => {
    const model = withLayer(new Scale({factor: 3, f: tf.square, name: 'scale'}));
    const x = random([2, 3], 1);
    const adapted = applyLoRA(model, {rank: 1});
    expect(predictions(adapted, [x])).toEqual(predictions(model, [x]));
    expect(adapted.layers[1]!.getClassName()).toBe('TestScale');
    expect(predictions(removeLoRA(adapted), [x])).toEqual(predictions(model, [x]));
  });

  test('that forget a field keep it, and this is told once', () => {
    const warn = jest.spyOn(console, 'warn').mockImplementation();
    const model = withLayer(new Forgetful({name: 'odd', factor: 3}));
    const x = random([2, 3], 1);
    const adapted = applyLoRA(model, {rank: 1});
    expect(predictions(adapted, [x])).toEqual(predictions(model, [x]));
    expect(predictions(mergeLoRA(adapted), [x])).toEqual(predictions(model, [x]));
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn).toHaveBeenCalledWith(
      'Layer "odd" (TestForgetful) has state that its getConfig() does not return: factor. It is kept now, ' +
        'but a saved model, plain or adapted, would lose it. Return it from getConfig(), and accept it in the ' +
        'constructor.',
    );
  });

  test.each<[what: string, make: () => tf.layers.Layer, message: RegExp]>([
    [
      'of a class that is not registered',
      () => new Unregistered({name: 'odd'}),
      /Layer "odd" is of class TestUnregistered, which is not registered/,
    ],
    [
      'that forget what their weights depend on',
      () => new Shrinking(new Set([1, 2]), {name: 'odd'}),
      /Layer "odd" \(TestShrinking\) has different weights.*\[3\] before, \[1\] after/,
    ],
    [
      'that are not registered, inside TimeDistributed,',
      () => {
        const layer = tf.layers.timeDistributed({layer: new Unregistered({name: 'odd'})});
        return tf.sequential({
          layers: [tf.layers.reshape({targetShape: [2, 2], inputShape: [4]}), layer, tf.layers.flatten()],
        });
      },
      /Layer "odd" is of class TestUnregistered/,
    ],
  ])('%s are refused by name, and nothing is left behind', async (_, make, message) => {
    const model = withLayer(make());
    const before = baseWeights(model);
    await withoutLeaks(() => {
      expect(() => applyLoRA(model, {rank: 1})).toThrow(LoRAError);
      expect(() => applyLoRA(model, {rank: 1})).toThrow(message);
    });
    expect(baseWeights(model)).toEqual(before);
  });
});

describe('containers', () => {
  test('that both hold a layer are refused by its name', async () => {
    const shared = tf.layers.dense({units: 3, name: 'tied'});
    const inner = tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [3]}), shared], name: 'inner'});
    const input = tf.input({shape: [3]});
    const outputs = shared.apply(inner.apply(input)) as tf.SymbolicTensor;
    const model = tf.model({inputs: input, outputs});
    await withoutLeaks(() => {
      expect(() => applyLoRA(model)).toThrow(/Layer "tied" is in the model twice, as "inner\/tied" and as "tied"/);
    });
  });

  /** Two nested models whose layers have the same names, and different weights. */
  function twins(): tf.LayersModel {
    const part = (name: string) =>
      tf.sequential({
        name,
        layers: [
          tf.layers.dense({units: 3, inputShape: [3], name: 'dense', activation: 'tanh'}),
          tf.layers.batchNormalization({name: 'norm'}),
        ],
      });
    const input = tf.input({shape: [3]});
    const [one, two] = [part('one'), part('two')];
    const outputs = two.apply(one.apply(input)) as tf.SymbolicTensor;
    const model = tf.model({inputs: input, outputs});
    stir(model);
    return model;
  }

  test('whose layers have the same names are kept apart, train and bring a warning', async () => {
    const warn = jest.spyOn(console, 'warn').mockImplementation();
    const [model, x] = [twins(), random([4, 3], 1)];
    const adapted = applyLoRA(model, {rank: 2, seed: 1});
    expect(warn.mock.calls.flat().join()).toMatch(/dense\/kernel.*tfjs cannot load/);
    expect(predictions(adapted, [x])).toEqual(predictions(model, [x]));
    expect(factorsOf(adapted)).toHaveLength(4);
    await train(adapted, [x]);
    expect(baseWeights(adapted)).toEqual(baseWeights(model));
    const merged = mergeLoRA(adapted);
    expect(predictions(merged, [x])[0]).toBeAllClose(predictions(adapted, [x])[0]!);
    expect(predictions(removeLoRA(adapted), [x])).toEqual(predictions(model, [x]));
  });

  test("whose layers have the same names keep them apart in the adapter's file", async () => {
    jest.spyOn(console, 'warn').mockImplementation();
    const [model, x] = [twins(), random([4, 3], 1)];
    const adapted = applyLoRA(model, {rank: 2, seed: 1});
    stirFactors(adapted);
    const handler = new MemoryHandler();
    await saveAdapter(adapted, handler);
    const names = handler.artifacts.weightSpecs!.map(({name}) => name);
    expect(names).toEqual(['one', 'two'].flatMap(part => ['A', 'B'].map(f => `${part}/dense/lora_${f}`)));
    const again = applyLoRA(model, await loadAdapter(handler));
    expect(predictions(again, [x])).toEqual(predictions(adapted, [x]));
  });
});

describe('flags and metadata', () => {
  function flagged(): {model: tf.LayersModel; inputs: tf.Tensor[]} {
    const {model, inputs} = nested();
    const body = model.getLayer('body') as tf.Sequential;
    body.layers[0]!.trainable = false;
    model.getLayer('head').trainable = false;
    model.setUserDefinedMetadata({author: 'me', labels: ['a_b', 'cD']});
    body.setUserDefinedMetadata({source: 'body_1'});
    return {model, inputs};
  }

  function flags(model: tf.LayersModel) {
    const body = model.getLayer('body') as tf.Sequential;
    return {
      model: model.trainable,
      body: body.trainable,
      layers: [...body.layers, model.getLayer('head')].map(({trainable}) => trainable),
      variables: [...model.weights].map(w => [w.originalName, (w.read() as tf.Variable).trainable]),
      trainable: model.trainableWeights.map(w => w.originalName),
      metadata: [model.getUserDefinedMetadata(), body.getUserDefinedMetadata()],
    };
  }

  test.each([
    ['at once', async (model: tf.LayersModel) => Promise.resolve(model)],
    ['after a file', reloaded],
  ])('of layers and containers come back with merge and remove, %s', async (_, through) => {
    const {model} = flagged();
    const before = flags(model);
    expect(before.trainable).toEqual(['second/kernel', 'second/bias']);
    const adapted = await through(applyLoRA(model, {rank: 2}));
    expect(flags(removeLoRA(adapted))).toEqual(before);
    expect(flags(mergeLoRA(adapted))).toEqual(before);
    expect(flags(model)).toEqual(before);
  });

  test('of a container come back, and do not keep its layers from being adapted', async () => {
    const {model, inputs} = nested();
    model.getLayer('body').trainable = false;
    const before = flags(model);
    const adapted = await reloaded(applyLoRA(model, {rank: 2}));
    expect(adapted.trainableWeights).toHaveLength(6);
    await train(adapted, inputs);
    expect(flags(removeLoRA(adapted))).toEqual(before);
  });

  test('of the whole model come back', () => {
    const {model} = nested();
    model.trainable = false;
    const before = flags(model);
    const adapted = applyLoRA(model, {rank: 2});
    expect(adapted.trainableWeights).toHaveLength(6);
    expect(flags(mergeLoRA(adapted))).toEqual(before);
  });

  test("that the user reads and adds to are the user's own", () => {
    const {model} = flagged();
    const adapted = applyLoRA(model, {rank: 2});
    expect(adapted.getUserDefinedMetadata()).toMatchObject({author: 'me', labels: ['a_b', 'cD']});
    adapted.setUserDefinedMetadata({...adapted.getUserDefinedMetadata(), epoch: 3});
    expect(mergeLoRA(adapted).getUserDefinedMetadata()).toEqual({
      author: 'me',
      labels: ['a_b', 'cD'],
      epoch: 3,
    });
  });

  test("come back though the user has replaced the adapted model's metadata", () => {
    const {model} = flagged();
    model.getLayer('body').trainable = false;
    const before = flags(model);
    const adapted = applyLoRA(model, {rank: 2});
    adapted.setUserDefinedMetadata({mine: 1});
    const [, ofBody] = before.metadata;
    expect(flags(mergeLoRA(adapted))).toEqual({...before, metadata: [{mine: 1}, ofBody]});
  });

  test('of frozen layers come back: a BatchNormalization that was frozen stays so', () => {
    const {model} = cnn();
    model.getLayer('norm').trainable = false;
    const plain = removeLoRA(applyLoRA(model, {rank: 2}));
    expect(plain.getLayer('norm').trainable).toBe(false);
    expect(plain.getLayer('conv').trainable).toBe(true);
    expect(plain.trainableWeights).toHaveLength(4);
  });
});

test('an adapter is a snapshot that training the model does not change', async () => {
  const {model, inputs} = nested();
  const adapted = applyLoRA(model, {rank: 2, seed: 1});
  stirFactors(adapted);
  const expected = predictions(adapted, inputs);
  const adapter = getAdapter(adapted);
  await train(adapted, inputs);
  expect(predictions(adapted, inputs)).not.toEqual(expected);
  expect(predictions(applyLoRA(model, adapter), inputs)).toEqual(expected);
});
