import * as tf from '@tensorflow/tfjs';
import {type Adapter, applyLoRA, disposeModel, exportPEFT, loadAdapter, mergeLoRA, trainableVariables} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {sitesOf} from '../../../src/core/rewire/walk';
import {withoutLeaks} from '../../helpers';
import {atTokens, type Expectation, type Fixture, fixture, inputsOf} from './fixtures';

export function predicted(model: tf.LayersModel, expected: Expectation): number[] {
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

/**
 * Whether a model computes the same for texts with more padding. SigLIP pools what stands last, which is padding: it is
 * trained with texts of one length. A token of MobileBERT sees the embedding of the next one, also if that is padding.
 */
function ignoresPadding({name, expected: {ids, pixels, sound}}: Fixture): boolean {
  const isOfText = (pixels ?? sound) === undefined && typeof ids[0]![0] === 'number';
  return isOfText && name !== 'siglipTextPooled' && !name.startsWith('mobilebert');
}

function expectPaddingIgnored(model: tf.LayersModel, {config, expected}: Fixture): void {
  const {pad_token_id: pad} = JSON.parse(config) as {pad_token_id?: number | null};
  tf.tidy(() => {
    const filled = [expected.ids, expected.mask].map((rows, i) =>
      tf.tensor2d(
        rows.map(row => [...row, ...new Array<number>(2).fill(i === 0 ? (pad ?? 0) : 0)]),
        undefined,
        'int32',
      ),
    );
    const result = model.predict(filled) as tf.Tensor;
    const unpadded = result.rank === 2 ? result : tf.slice(result, 0, expected.shape);
    expect(atTokens(unpadded.dataSync(), expected)).toBeAllClose(predicted(model, expected));
  });
}

/** Expects that the gradients of the factors are those of PyTorch. */
async function expectTorchGradients(adapted: tf.LayersModel, expected: Expectation): Promise<void> {
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
        const {wanted, isPermuted} = gradientOf(expected, moduleOf(path, factor), factor.replace(/^kernel_\d\//, ''));
        const given = tf.tensor(wanted.values, wanted.shape);
        const order = wanted.shape.length === 4 ? [2, 3, 1, 0] : undefined; // of two axes or three: reversed
        const permuted = isPermuted ? tf.transpose(given, order) : given;
        const largest = Math.max(...wanted.values.map(Math.abs));
        expect([...gradient.dataSync()]).toBeAllClose([...permuted.dataSync()], {rtol: 1e-4, atol: 2e-5 * largest});
      }
    }),
  );
}

/** Expects that a model, an adapter of PEFT for it and its gradients are what PyTorch computes, merged and written too. */
export async function expectTorchResults(name: string): Promise<void> {
  const files = fixture(name);
  const {config, weights, tied, pooling, expected} = files;
  await withoutLeaks(async () => {
    const {model} = await loadTransformer({config, weights, tied, pooling});
    expect(predicted(model, expected)).toBeAllClose(atTokens(expected.base, expected), {rtol: 2e-5, atol: 2e-5});
    if (ignoresPadding(files)) {
      expectPaddingIgnored(model, files);
    }
    const adapter = await imported(name, files.adapter, model);
    const adapted = applyLoRA(model, adapter);
    const close = {rtol: 5e-5, atol: 5e-5};
    expect(predicted(adapted, expected)).toBeAllClose(atTokens(expected.adapted, expected), close);
    await expectTorchGradients(adapted, expected);
    const merged = mergeLoRA(adapted);
    expect(predicted(merged, expected)).toBeAllClose(atTokens(expected.merged, expected), close);
    const exported = await exportPEFT(adapted, {adapter});
    const [ours, all] = [exported, files.adapter].map(({weights: bytes}) => decodeSafetensors(bytes).tensors);
    const theirs = new Map([...all!].filter(([key]) => !name.endsWith('Unused') || !UNUSED.test(key)));
    expect([...ours!.keys()].sort()).toEqual([...theirs.keys()].sort());
    for (const [key, {data}] of theirs) {
      expect(Array.from(ours!.get(key)!.data!)).toEqual(Array.from(data!));
    }
    tf.dispose(adapter.tensors);
    [merged, adapted, model].forEach(disposeModel);
  });
}

/** The same of the gradients where blocks are computed again in the backward pass. */
export async function expectTorchGradientsWithCheckpoints(name: string): Promise<void> {
  const {config, weights, tied, pooling, adapter, expected} = fixture(name);
  const {model} = await loadTransformer({config, weights, tied, pooling, gradientCheckpointing: true});
  await expectTorchGradients(applyLoRA(model, await imported(name, adapter, model)), expected);
}
