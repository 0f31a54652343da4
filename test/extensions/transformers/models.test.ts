import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  disposeModel,
  exportPEFT,
  getAdapter,
  loadAdapter,
  mergeLoRA,
  removeLoRA,
  trainableVariables,
} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {sitesOf} from '../../../src/core/rewire/walk';
import {BACKENDS, useBackend, withoutLeaks} from '../../helpers';
import {atTokens, type Expectation, type Fixture, fixture, inputsOf, NAMES} from './fixtures';

function predicted(model: tf.LayersModel, expected: Expectation): number[] {
  return tf.tidy(() => atTokens((model.predict(inputsOf(expected)) as tf.Tensor).dataSync(), expected));
}

/** What PyTorch has for the gradient of a weight of a layer, and whether it is transposed there. */
function gradientOf({gradients}: Expectation, module: string, weight: string) {
  const names: [name: string, isPermuted: boolean][] = [
    [`${weight}.weight`, true],
    [weight.replace('lora_', 'lora_embedding_'), true],
    [weight === 'bias' || weight === 'beta' ? 'bias' : 'weight', weight === 'kernel'],
  ];
  const [name, isPermuted] = names.find(([each]) => gradients[`${module}.${each}`] !== undefined)!;
  return {wanted: gradients[`${module}.${name}`]!, isPermuted};
}

/** Modules of MobileBERT that a setting leaves without effect, and that of the pooler. */
const UNUSED = /\.(?:embedding_transformation|bottleneck\.attention\.dense|pooler\.dense)\./;

/** The adapter of a fixture. A warning names the modules that are left out, and no others are. */
async function imported(name: string, files: Fixture['adapter'], model: tf.LayersModel): Promise<Adapter> {
  const warn = jest.spyOn(console, 'warn').mockImplementation();
  const adapter = await loadAdapter(files, {model});
  expect(warn).toHaveBeenCalledTimes(name.endsWith('Unused') ? 1 : 0);
  warn.mockRestore();
  return adapter;
}

/** The module of a factor. The two kernels of Swin v2's bias by distance are a module each. */
function moduleOf(path: string, factor: string): string {
  const module = path.replaceAll('/', '.');
  const isOfBias = module.endsWith('continuous_position_bias_mlp');
  return isOfBias ? `${module}.${factor.startsWith('kernel_0/') ? 0 : 2}` : module;
}

test('there are models of every family', () => {
  expect(NAMES).toEqual(
    expect.arrayContaining([
      ...[
        'albert',
        'bert',
        'clipPairs',
        'debertaV2',
        'dinov2',
        'distilbert',
        'electra',
        'gemma3',
        'gpt2',
        'granite',
        'llama',
      ],
      ...['mistral', 'modernbert', 'olmo2', 'phi3', 'qwen2', 'qwen3', 'roberta', 'siglip', 'smollm3Tied', 't5', 'vit'],
      ...['ast', 'hubert', 'wav2vec2', 'whisper'],
    ]),
  );
});

const VISION = NAMES.filter(name => fixture(name).expected.other !== undefined);

// SigLIP pools what stands last, which is padding: it is trained with texts of one length.
const TEXTS = NAMES.filter(name => {
  const {ids, pixels, sound} = fixture(name).expected;
  return (pixels ?? sound) === undefined && typeof ids[0]![0] === 'number' && name !== 'siglipTextPooled';
});

// A token of MobileBERT sees the embedding of the next one, also if that is padding.
const INDEPENDENT = TEXTS.filter(name => !name.startsWith('mobilebert'));

test.each(INDEPENDENT)('%s gives of texts with more padding what it gives of them', async name => {
  await useBackend('cpu');
  const {config, weights, tied, pooling, expected} = fixture(name);
  const {pad_token_id: pad} = JSON.parse(config) as {pad_token_id?: number | null};
  const {model} = await loadTransformer({config, weights, tied, pooling});
  tf.tidy(() => {
    const filled = [expected.ids, expected.mask].map((rows, i) =>
      tf.tensor2d(
        rows.map(row => [...row, ...new Array<number>(2).fill(i === 0 ? (pad ?? 0) : 0)]),
        undefined,
        'int32',
      ),
    );
    const result = model.predict(filled) as tf.Tensor;
    const own = result.rank === 2 ? result : tf.slice(result, 0, expected.shape);
    expect(atTokens(own.dataSync(), expected)).toBeAllClose(predicted(model, expected));
  });
  disposeModel(model);
});

describe.each(BACKENDS)('on %s', backend => {
  beforeAll(() => useBackend(backend));

  test.each(VISION)('%s interpolates its positions for images of another size', async name => {
    const {config, weights, pooling, expected} = fixture(name);
    const {model} = await loadTransformer({config, weights, pooling});
    const {shape, values, base, baseShape} = expected.other!;
    const y = model.predict(tf.tensor(values, shape)) as tf.Tensor;
    expect(y.shape).toEqual(baseShape);
    expect([...y.dataSync()]).toBeAllClose(base, {rtol: 2e-5, atol: 2e-5});
    y.dispose();
    disposeModel(model);
  });

  // What merging and writing do to weights is the same code on each backend.
  test.each(NAMES)(
    `%s and an adapter of PEFT compute what PyTorch computes${backend === 'cpu' ? '' : ', merged too'}`,
    async name => {
      const {config, weights, tied, pooling, adapter: files, expected} = fixture(name);
      await withoutLeaks(async () => {
        const {model} = await loadTransformer({config, weights, tied, pooling});
        expect(predicted(model, expected)).toBeAllClose(atTokens(expected.base, expected), {rtol: 2e-5, atol: 2e-5});
        const adapter = await imported(name, files, model);
        const adapted = applyLoRA(model, adapter);
        const close = {rtol: 5e-5, atol: 5e-5};
        expect(predicted(adapted, expected)).toBeAllClose(atTokens(expected.adapted, expected), close);
        if (backend === 'cpu') {
          tf.dispose(adapter.tensors);
          [adapted, model].forEach(disposeModel);
          return;
        }
        const merged = mergeLoRA(adapted);
        expect(predicted(merged, expected)).toBeAllClose(atTokens(expected.merged, expected), close);
        const exported = await exportPEFT(adapted, {adapter});
        const [ours, all] = [exported.weights, files.weights].map(bytes => decodeSafetensors(bytes).tensors);
        const theirs = new Map([...all!].filter(([key]) => !name.endsWith('Unused') || !UNUSED.test(key)));
        expect([...ours!.keys()].sort()).toEqual([...theirs.keys()].sort());
        for (const [key, {data}] of theirs) {
          expect(Array.from(ours!.get(key)!.data!)).toEqual(Array.from(data!));
        }
        tf.dispose(adapter.tensors);
        [merged, adapted, model].forEach(disposeModel);
      });
    },
  );

  // What is computed again in the backward pass is the same code on each backend.
  describe.each(backend === 'cpu' ? [false] : [false, true])('with checkpoints: %s', gradientCheckpointing => {
    test.each(NAMES)('the gradients of the factors of %s are those of PyTorch', async name => {
      const {config, weights, tied, pooling, adapter: files, expected} = fixture(name);
      const {model} = await loadTransformer({config, weights, tied, pooling, gradientCheckpointing});
      const adapted = applyLoRA(model, await imported(name, files, model));
      const paths = new Map(
        sitesOf(adapted).flatMap(({path, layer}) =>
          layer.trainableWeights.map(weight => [(weight.read() as tf.Variable).name, {path, weight}]),
        ),
      );
      // DoRA and frozen normalizations keep what they make of the base's weights.
      tf.tidy(() => void adapted.apply(inputsOf(expected), {training: true}));
      await withoutLeaks(() =>
        tf.tidy(() => {
          const {grads} = tf.variableGrads(() => {
            const y = adapted.apply(inputsOf(expected), {training: true}) as tf.Tensor;
            return tf.sum<tf.Scalar>(tf.mul(y, tf.tensor(expected.weights, expected.shape)));
          }, trainableVariables(adapted));
          const entries = Object.entries(grads);
          expect(entries.length).toBe(Object.keys(expected.gradients).length);
          for (const [variable, gradient] of entries) {
            const {path, weight} = paths.get(variable)!;
            const factor = weight.originalName.slice(path.length + 1);
            const {wanted, isPermuted} = gradientOf(
              expected,
              moduleOf(path, factor),
              factor.replace(/^kernel_\d\//, ''),
            );
            const given = tf.tensor(wanted.values, wanted.shape);
            const order = wanted.shape.length === 4 ? [2, 3, 1, 0] : undefined; // of two axes or three: reversed
            const permuted = isPermuted ? tf.transpose(given, order) : given;
            const largest = Math.max(...wanted.values.map(Math.abs));
            expect([...gradient.dataSync()]).toBeAllClose([...permuted.dataSync()], {rtol: 1e-4, atol: 2e-5 * largest});
          }
        }),
      );
      [adapted, model].forEach(disposeModel);
    });
  });

  test.each(['bert', 'gpt2', 'llama'])('%s is saved, loaded, trained and taken apart as any model', async name => {
    const {config, weights, expected} = fixture(name);
    const {model} = await loadTransformer({config, weights, gradientCheckpointing: true});
    const adapted = applyLoRA(model, {rank: 2});
    let saved: tf.io.ModelArtifacts | undefined;
    await adapted.save(
      tf.io.withSaveHandler(artifacts => {
        saved = artifacts;
        return Promise.resolve({modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON'}});
      }),
    );
    const loaded = await tf.loadLayersModel(tf.io.fromMemory(saved!));
    expect(predicted(loaded, expected)).toEqual(predicted(adapted, expected));
    loaded.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    const inputs = inputsOf(expected);
    const targets = tf.zeros(expected.shape);
    const history = await loaded.fit(inputs, targets, {epochs: 3, verbose: 0});
    const losses = history.history.loss as number[];
    expect(losses.at(-1)).toBeLessThan(losses[0]!);
    const removed = removeLoRA(loaded);
    expect(predicted(removed, expected)).toEqual(predicted(model, expected));
    tf.dispose([...inputs, targets]);
    [removed, loaded, adapted, model].forEach(disposeModel);
  });

  test('checkpointed blocks keep less than half of what the others keep', async () => {
    const {config, weights, expected} = fixture('bert');
    const peak = async (gradientCheckpointing: boolean): Promise<number> => {
      const {model} = await loadTransformer({config, weights, gradientCheckpointing});
      const adapted = applyLoRA(model, {rank: 2, targets: ['query', 'value'].map(part => new RegExp(`self/${part}$`))});
      let most = 0;
      tf.tidy(() => {
        const before = tf.memory().numBytes;
        tf.variableGrads(() => {
          const y = adapted.apply(inputsOf(expected), {training: true}) as tf.Tensor;
          most = tf.memory().numBytes - before;
          return tf.sum<tf.Scalar>(y);
        }, trainableVariables(adapted));
      });
      [adapted, model].forEach(disposeModel);
      return most;
    };
    expect(await peak(true)).toBeLessThan((await peak(false)) / 2);
  });

  test('an adapter has the same paths with checkpoints and without', async () => {
    const {config, weights} = fixture('bert');
    const [one, other] = await Promise.all(
      [true, false].map(async gradientCheckpointing => {
        const {model} = await loadTransformer({config, weights, gradientCheckpointing});
        const adapted = applyLoRA(model, {rank: 2});
        const adapter = getAdapter(adapted);
        const names = Object.keys(adapter.tensors).sort();
        tf.dispose(adapter.tensors);
        [adapted, model].forEach(disposeModel);
        return names;
      }),
    );
    expect(one).toEqual(other);
    expect(one).toContain('encoder/layer/0/attention/self/query/lora_A');
  });
});
