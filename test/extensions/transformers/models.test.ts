import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, getAdapter, removeLoRA, trainableVariables} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {expectTorchGradientsWithCheckpoints, expectTorchResults, predicted} from './torchResults';
import {fixture, inputsOf, NAMES} from './fixtures';
import {reloaded} from '../../models';

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

test.each(VISION)('%s interpolates its positions for images of another size', async name => {
  const {config, weights, pooling, expected} = fixture(name);
  const {model} = await loadTransformer({config, weights, pooling});
  const {shape, values, base, baseShape} = expected.other!;
  const y = model.predict(tf.tensor(values, shape)) as tf.Tensor;
  expect(y.shape).toEqual(baseShape);
  expect([...y.dataSync()]).toBeAllClose(base, {rtol: 2e-5, atol: 2e-5});
});

test.each(NAMES)('%s and an adapter of PEFT compute what PyTorch computes, with gradients', expectTorchResults);

test.each(NAMES)(
  'with checkpoints the gradients of the factors of %s are those of PyTorch',
  expectTorchGradientsWithCheckpoints,
);

test.each(['bert', 'gpt2', 'llama'])('%s is saved, loaded, trained and taken apart as any model', async name => {
  const {config, weights, expected} = fixture(name);
  const {model} = await loadTransformer({config, weights, gradientCheckpointing: true});
  const adapted = applyLoRA(model, {rank: 2});
  const loaded = await reloaded(adapted);
  expect(predicted(loaded, expected)).toEqual(predicted(adapted, expected));
  loaded.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
  const inputs = inputsOf(expected);
  const targets = tf.zeros(expected.shape);
  const history = await loaded.fit(inputs, targets, {epochs: 3, verbose: 0});
  const losses = history.history.loss as number[];
  expect(losses.at(-1)).toBeLessThan(losses[0]!);
  const removed = removeLoRA(loaded);
  expect(predicted(removed, expected)).toEqual(predicted(model, expected));
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
