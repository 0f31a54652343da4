import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  disposeModel,
  exportPEFT,
  loadAdapter,
  type LoRAConfig,
  LoRAError,
  type LoRALayer,
  mergeLoRA,
  planLoRA,
  removeLoRA,
  replaceHead,
  trainableVariables,
} from 'tfjs-lora';
import {loadTransformer, TiedDense} from 'tfjs-lora/transformers';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {encodeSafetensors} from '../../../src/platform/formats/encodeSafetensors';
import {namedWeights} from '../../../src/platform/tfjs/weights';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {artifactsOf} from '../../models';
import {fixture} from './fixtures';
import {LoRADense} from '../../../src/core/layers/loraDense';

const MODELS = [
  ['gpt2TiedHead', 'transformer/wte'],
  ['llamaTiedHead', 'model/embed_tokens'],
] as const;

const load = async (name: string, tied = true) => {
  const {config, weights} = fixture(name);
  return (await loadTransformer({config, weights, tied})).model;
};

const inputsFor = (name: string) => {
  const {ids, mask} = fixture(name).expected;
  return [tf.tensor2d(ids, undefined, 'int32'), tf.tensor2d(mask, undefined, 'int32')];
};

const outputOf = (model: tf.LayersModel, name: string) =>
  tf.tidy(() => numbers(model.predict(inputsFor(name)) as tf.Tensor));

/** Gives the updates of a model values, the same for the same shapes in the same order. */
function perturb(model: tf.LayersModel): void {
  trainableVariables(model).forEach((variable, i) =>
    tf.tidy(() => variable.assign(tf.add(variable, tf.randomNormal(variable.shape, 0, 0.3, 'float32', 7 + i)))),
  );
}

describe.each(MODELS)('%s', (name, table) => {
  test('has one tensor for the table and the head', async () => {
    await withoutLeaks(async () => {
      const model = await load(name);
      const head = model.getLayer('lm_head');
      expect(head.getClassName()).toBe('tfjs-lora/transformers>TiedDense');
      expect(head.weights).toEqual([]);
      const stored = decodeSafetensors(fixture(name).weights).tensors;
      const sizes = [...stored.values()].map(({data}) => data!.length);
      expect(model.countParams()).toBe(sizes.reduce((sum, size) => sum + size, 0));
      expect(model.getLayer(table).weights.map(({originalName}) => originalName)).toEqual([`${table}/embeddings`]);
      disposeModel(model);
    });
  });

  test('is in a file with one table, and loads as it was', async () => {
    const model = await load(name);
    const adapted = applyLoRA(model, {rank: 2, targets: [table, 'lm_head']});
    perturb(adapted);
    const [vocabulary, width] = model.getLayer(table).getWeights()[0]!.shape as [number, number];
    for (const each of [model, adapted]) {
      const artifacts = await artifactsOf(each);
      const sizes = artifacts.weightSpecs!.filter(({shape}) => shape.length === 2 && Math.max(...shape) === vocabulary);
      expect(sizes.filter(({shape}) => Math.min(...shape) === width).length).toBe(1);
      const loaded = await tf.loadLayersModel(tf.io.fromMemory(artifacts));
      expect(outputOf(loaded, name)).toEqual(outputOf(each, name));
    }
  });

  test.each([
    ['the table', (at: string) => [at]],
    ['the head', () => ['lm_head']],
    ['both', (at: string) => [at, 'lm_head']],
  ])('with an update of %s merges into two tables, and comes apart into one', async (_, targets) => {
    await withoutLeaks(async () => {
      const model = await load(name);
      const before = outputOf(model, name);
      const adapted = applyLoRA(model, {rank: 2, targets: targets(table)});
      expect(outputOf(adapted, name)).toEqual(before);
      perturb(adapted);
      const merged = mergeLoRA(adapted);
      expect(merged.getLayer('lm_head').getClassName()).toBe('Dense');
      expect(outputOf(merged, name)).toBeAllClose(outputOf(adapted, name), {rtol: 1e-5, atol: 1e-5});
      expect(outputOf(merged, name)).not.toBeAllClose(before, {rtol: 1e-3, atol: 1e-3});
      const removed = removeLoRA(adapted);
      expect(removed.getLayer('lm_head')).toBeInstanceOf(TiedDense);
      expect(outputOf(removed, name)).toEqual(before);
      expect(outputOf(model, name)).toEqual(before);
      [merged, removed, adapted, model].forEach(disposeModel);
    });
  });

  test('without an update of either stays one when it is merged', async () => {
    const model = await load(name);
    const adapted = applyLoRA(model, {rank: 2, targets: [/q_proj|c_fc/]});
    perturb(adapted);
    const merged = mergeLoRA(adapted);
    expect(merged.getLayer('lm_head')).toBeInstanceOf(TiedDense);
    expect(outputOf(merged, name)).toBeAllClose(outputOf(adapted, name), {rtol: 1e-5, atol: 1e-5});
  });

  test('trained in full has the sum of the gradients of two tables', async () => {
    const [one, two] = await Promise.all([load(name), load(name, false)]);
    await withoutLeaks(() =>
      tf.tidy(() => {
        const target = tf.randomNormal(fixture(name).expected.shape, 0, 1, 'float32', 3);
        const gradients = (model: tf.LayersModel) =>
          tf.variableGrads(
            () => tf.mean<tf.Scalar>(tf.square(tf.sub(model.apply(inputsFor(name)) as tf.Tensor, target))),
            trainableVariables(model),
          ).grads;
        const of = (model: tf.LayersModel, layer: string, weight: string) =>
          gradients(model)[(namedWeights(model.getLayer(layer)).get(weight)!.read() as tf.Variable).name]!;
        const sum = tf.add(of(two, table, 'embeddings'), tf.transpose(of(two, 'lm_head', 'kernel')));
        expect(numbers(of(one, table, 'embeddings'))).toBeAllClose(numbers(sum), {rtol: 1e-4, atol: 1e-6});
      }),
    );
    const adapted = applyLoRA(one, {targets: [/q_proj|c_fc/], trainInFull: [table]});
    adapted.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    const target = tf.zeros(fixture(name).expected.shape);
    const inputs = inputsFor(name);
    await adapted.fit(inputs, target, {epochs: 1, verbose: 0});
    const merged = mergeLoRA(adapted);
    expect(merged.getLayer('lm_head')).toBeInstanceOf(TiedDense);
    expect(outputOf(merged, name)).toBeAllClose(outputOf(adapted, name), {rtol: 1e-5, atol: 1e-5});
    const removed = removeLoRA(adapted);
    expect(outputOf(removed, name)).toEqual(outputOf(one, name));
  });

  test.each<[string, Partial<LoRAConfig>]>([
    ['LoRA', {}],
    ['LoRA with dropout', {dropout: 0.4}],
    ['DoRA', {method: 'dora'}],
    ['DoRA with dropout', {method: 'dora', dropout: 0.4}],
    ['LoRA-FA', {method: 'lora-fa'}],
    ['VeRA', {method: 'vera'}],
    ['IA³', {method: 'ia3'}],
    ['IA³ of inputs', {method: 'ia3-feedforward'}],
    ['LoHa', {method: 'loha'}],
    ['PiSSA', {init: 'pissa'}],
  ])('of the head, %s computes and trains as that of a head with a table of its own', async (_, options) => {
    await withoutLeaks(async () => {
      const [one, two] = await Promise.all([load(name), load(name, false)]);
      const strength = options.method?.startsWith('ia3') === true ? {} : {rank: 2};
      const config: LoRAConfig = {...strength, targets: ['lm_head'], seed: 5, ...options};
      const [tied, apart] = [one, two].map(model => applyLoRA(model, config)) as [tf.LayersModel, tf.LayersModel];
      expect(apart.getLayer('lm_head')).toBeInstanceOf(LoRADense);
      [tied, apart].forEach(perturb);
      const close = {rtol: 2e-4, atol: 2e-5};
      expect(outputOf(tied, name)).toBeAllClose(outputOf(apart, name), close);
      tf.tidy(() => {
        const target = tf.randomNormal(fixture(name).expected.shape, 0, 1, 'float32', 3);
        const [ours, theirs] = [tied, apart].map(model => {
          const {grads} = tf.variableGrads(() => {
            const y = model.apply(inputsFor(name), {training: true}) as tf.Tensor;
            return tf.mean<tf.Scalar>(tf.square(tf.sub(y, target)));
          }, trainableVariables(model));
          return Object.values(grads);
        });
        expect(ours!.length).toBe(theirs!.length);
        ours!.forEach((gradient, i) => expect(numbers(gradient)).toBeAllClose(numbers(theirs![i]!), close));
      });
      const merged = mergeLoRA(tied);
      expect(outputOf(merged, name)).toBeAllClose(outputOf(tied, name), close);
      [merged, tied, apart, one, two].forEach(disposeModel);
    });
  });
});

describe('a tied head', () => {
  test('is in the plan for a model, and cannot be trained in full by its name', async () => {
    const model = await load('gpt2TiedHead');
    const plan = planLoRA(model, {rank: 2, targets: ['lm_head']});
    expect(plan.layers.find(({path}) => path === 'lm_head')).toMatchObject({
      className: 'TiedDense',
      role: 'adapted',
      trainableParameters: 2 * (8 + 13),
    });
    expect(() => applyLoRA(model, {targets: ['c_fc'], trainInFull: ['lm_head']})).toThrow(
      'Layer "lm_head": The layer computes with the table of "transformer/wte". Name that one, to train both uses of it; or ' +
        'give this layer a table of its own, by loadTransformer with {tied: false}.',
    );
  });

  test('with an update becomes a separate Dense outside of a model too', async () => {
    await withoutLeaks(async () => {
      const model = await load('gpt2TiedHead');
      const adapted = applyLoRA(model, {rank: 2, targets: ['lm_head']});
      perturb(adapted);
      const merged = mergeLoRA(adapted);
      const layer = (adapted.getLayer('lm_head') as LoRALayer).mergeToOriginalLayer();
      expect(layer.getClassName()).toBe('Dense');
      expect(numbers(layer.getWeights()[0]!)).toEqual(numbers(merged.getLayer('lm_head').getWeights()[0]!));
      [layer, merged, adapted, model].forEach(disposeModel);
    });
  });

  test('can be replaced by a new head', async () => {
    await withoutLeaks(async () => {
      const model = await load('gpt2TiedHead');
      const headed = replaceHead(model, [tf.layers.dense({units: 3, name: 'classes'})]);
      expect(headed.layers.map(({name}) => name).slice(-2)).toEqual(['transformer/ln_f', 'classes']);
      [headed, model].forEach(disposeModel);
    });
  });

  test('is a layer with a separate table if the files have one', async () => {
    const {config, weights} = fixture('gpt2TiedHead');
    const stored = Object.fromEntries(
      [...decodeSafetensors(weights).tensors].map(([name, {shape, data}]) => [name, {shape, data: data!}]),
    );
    const table = stored['transformer.wte.weight']!;
    const files = encodeSafetensors({
      ...stored,
      'lm_head.weight': {...table, data: new Float32Array(table.data.length)},
    });
    const {model} = await loadTransformer({config, weights: files});
    expect(outputOf(model, 'gpt2TiedHead').every(value => value === 0)).toBe(true);
  });

  test('is refused what PEFT trained apart from the table', async () => {
    const {config, weights, adapter} = fixture('gpt2TiedApart');
    const {model} = await loadTransformer({config, weights});
    await expect(loadAdapter(adapter, {model})).rejects.toThrow(
      'lm_head: it shares the embedding of transformer/wte in this model, but not in the adapter. Load the model ' +
        'with loadTransformer and {tied: false}',
    );
  });

  test('has an update or a table that trains, and not both, in an adapter for PEFT', async () => {
    const model = await load('gpt2TiedHead');
    const adapted = applyLoRA(model, {rank: 2, targets: ['lm_head'], trainInFull: ['transformer/wte']});
    await expect(exportPEFT(adapted)).rejects.toThrow(
      'transformer/wte: its embedding trains, and lm_head, which shares it, has another update.',
    );
  });

  test('says what it lacks where no table comes before it', () => {
    const x = tf.input({shape: [3]});
    expect(() => new TiedDense({table: {name: 'words'}, name: 'head'}).apply(x)).toThrow(
      '"head" computes with the table of an Embedding "words", which must come before it in the same model.',
    );
    expect(() => new TiedDense({} as {table: {name: string}})).toThrow(LoRAError);
    const ids = tf.input({shape: [null], dtype: 'int32'});
    const table = tf.layers.embedding({inputDim: 4, outputDim: 2, name: 'words'});
    const wide = tf.layers.dense({units: 3}).apply(table.apply(ids)) as tf.SymbolicTensor;
    expect(() => new TiedDense({table: {name: 'words'}, name: 'head'}).apply(wide)).toThrow(
      '"head" takes states as wide as the table of "words", 2, got [null, null, 3].',
    );
  });

  test('with a bias has what it says, adapted and merged too', async () => {
    await withoutLeaks(async () => {
      const ids = tf.input({shape: [2], dtype: 'int32'});
      const words = tf.layers.embedding({inputDim: 4, outputDim: 2, name: 'words'});
      const head = new TiedDense({table: {name: 'words'}, useBias: true, name: 'head'});
      const model = tf.model({inputs: ids, outputs: head.apply(words.apply(ids)) as tf.SymbolicTensor});
      tf.tidy(() => {
        words.setWeights([tf.tensor2d([1, 0, 0, 2, -1, 1, 3, 3], [4, 2])]);
        head.setWeights([tf.tensor1d([10, 20, 30, 40])]);
      });
      const x = tf.tensor2d([[1, 3]], [1, 2], 'int32');
      const y = [10, 24, 32, 46, 13, 26, 30, 58];
      const outputs = (each: tf.LayersModel) => tf.tidy(() => numbers(each.predict(x) as tf.Tensor));
      expect(outputs(model)).toEqual(y);
      const adapted = applyLoRA(model, {rank: 1, targets: ['words'], bias: 'all'});
      expect(outputs(adapted)).toEqual(y);
      const artifacts = await artifactsOf(adapted);
      const loaded = await tf.loadLayersModel(tf.io.fromMemory(artifacts));
      expect(outputs(loaded)).toEqual(y);
      perturb(loaded);
      const merged = mergeLoRA(loaded);
      expect(outputs(merged)).toBeAllClose(outputs(loaded));
      expect(merged.getLayer('head').getClassName()).toBe('Dense');
      x.dispose();
      [merged, loaded, adapted, model].forEach(disposeModel);
    });
  });
});

test("an update in MobileBERT's head, which PEFT ignores, is not exchanged with it", async () => {
  await useBackend('cpu');
  const model = await load('mobilebertTiedWords');
  const adapted = applyLoRA(model, {rank: 1, targets: ['cls/predictions/decoder', 'cls/predictions/dense']});
  perturb(adapted);
  const exported = exportPEFT(adapted);
  await expect(exported).rejects.toThrow('cls/predictions/decoder: in PyTorch its weight is used without calling');
  await expect(exported).rejects.toThrow("exclude: ['decoder', 'cls/predictions/dense']");
  const {adapter: files, expected} = fixture('mobilebertTiedWords');
  const vocabulary = expected.shape.at(-1)!;
  const width = model.getLayer('cls/predictions/first').outputShape.at(-1) as number;
  const withUpdate = (value: number) => {
    const factor = (shape: number[], of: number) => ({
      shape,
      data: new Float32Array(tf.util.sizeFromShape(shape)).fill(of),
    });
    const module = 'base_model.model.cls.predictions.decoder';
    const weights = encodeSafetensors({
      [`${module}.lora_A.weight`]: factor([3, width], 1),
      [`${module}.lora_B.weight`]: factor([vocabulary, 3], value),
    });
    return {config: files.config, weights};
  };
  await expect(loadAdapter(withUpdate(1), {model})).rejects.toThrow('PEFT ignores this update until it is merged');
  await loadAdapter(withUpdate(0), {model});
});
