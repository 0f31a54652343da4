import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  disposeModel,
  getAdapter,
  mergeLoRA,
  removeLoRA,
  resetOptimizer,
  scaleAdapter,
  setAdapter,
} from 'tfjs-lora';
import {type KeyMap, loadAdapter, LoRAError} from '../../../src';
import {encodeSafetensors} from '../../../src/platform/formats/encodeSafetensors';
import {random, useBackend, withoutLeaks} from '../../helpers';
import {baseWeights, predictions, stir} from '../../models';
import {countingCalls} from '../../work';

const {layers} = tf;

function tinyModel(): tf.LayersModel {
  const model = tf.sequential({
    layers: [
      layers.dense({units: 3, activation: 'tanh', name: 'hidden', inputShape: [3]}),
      layers.dense({units: 2, name: 'head'}),
    ],
  });
  stir(model);
  return model;
}

/** What is done, with numbers that decide the details. */
const steps = fc.array(
  fc.tuple(
    fc.constantFrom('get', 'set', 'clear', 'scale', 'combine', 'svd', 'train', 'merge', 'remove', 'drop'),
    fc.nat(999),
    fc.nat(999),
  ),
  {minLength: 1000, maxLength: 1000},
);

test.each([
  ['of get, set, combine, train, merge and remove', 'none'],
  ['with biases that train along', 'adapted'],
] as const)(
  'a thousand random steps %s leak no tensor and change no bit of the base',
  async (_, bias) => {
    await useBackend('wasm');
    const script = fc.sample(steps, {numRuns: 1, seed: 2106})[0]!;
    const model = tinyModel();
    const [x, y] = [random<tf.Rank.R2>([4, 3], 1), random<tf.Rank.R2>([4, 2], 2)];
    const base = baseWeights(model);
    const predicted = predictions(model, [x]);
    const before = tf.memory();

    const adapted = applyLoRA(model, {rank: 2, seed: 1, bias});
    const optimizer = tf.train.adam(0.01);
    adapted.compile({optimizer, loss: 'meanSquaredError'});
    const fixed = tf.memory().numTensors - before.numTensors; // the factors, the optimizer's counters
    const adapters: Adapter[] = [getAdapter(adapted)];
    let refused = 0;
    const pick = (i: number) => adapters[i % adapters.length]!;

    for (const [action, i, j] of script) {
      if (action === 'get') {
        adapters.push(getAdapter(adapted));
      } else if (action === 'set' || action === 'clear') {
        setAdapter(adapted, action === 'set' ? pick(i) : null);
        resetOptimizer(adapted);
      } else if (action === 'scale') {
        adapters.push(scaleAdapter(pick(i), (j % 20) / 10));
      } else if (action === 'combine' || action === 'svd') {
        const parts = [i, j].map(n => ({adapter: pick(n), weight: (n % 7) / 7 - 0.4}));
        try {
          adapters.push(action === 'combine' ? await combineAdapters(parts) : await combineAdapters(parts, {rank: 1}));
        } catch (error) {
          // Biases that differ cannot be added up.
          expect([bias, String(error)]).toEqual(['adapted', expect.stringContaining('in more than one adapter')]);
          refused++;
        }
      } else if (action === 'train') {
        await adapted.trainOnBatch(x, y).then(loss => tf.dispose(loss as unknown as tf.Tensor));
      } else if (action === 'drop') {
        adapters.splice(1).forEach(adapter => adapter.dispose());
      } else {
        const plain = action === 'merge' ? mergeLoRA(adapted) : removeLoRA(adapted);
        if (action === 'remove') {
          expect(predictions(plain, [x])).toEqual(predicted);
        }
        disposeModel(plain);
      }
    }

    expect(refused > 0).toBe(bias === 'adapted');
    expect(adapters.length).toBeGreaterThan(1);
    setAdapter(adapted, null);
    expect(baseWeights(adapted)).toEqual(base);
    resetOptimizer(adapted);
    adapters.forEach(adapter => adapter.dispose());
    expect(tf.memory().numTensors).toBe(before.numTensors + fixed);
    disposeModel(adapted);
    optimizer.dispose();
    const after = tf.memory();
    expect([after.numTensors, after.numDataBuffers]).toEqual([before.numTensors, before.numDataBuffers]);
    expect(baseWeights(model)).toEqual(base);
    expect(predictions(model, [x])).toEqual(predicted);
    disposeModel(model);
    tf.dispose([x, y]);
  },
  120_000,
);

/** More than the steps that an import may spend on patterns. What is tested here took many times as many, unbounded. */
const FEW = 5e7;

/** A PEFT adapter with a rank-1 update of each module. */
function adapterOf(modules: readonly string[], config: object) {
  const a = {shape: [1, 4], data: new Float32Array(4)};
  const b = {shape: [3, 1], data: new Float32Array(3)};
  const tensors = modules.flatMap(name => [
    [`base_model.model.${name}.lora_A.weight`, a],
    [`base_model.model.${name}.lora_B.weight`, b],
  ]);
  const weights = encodeSafetensors(Object.fromEntries(tensors) as Record<string, typeof a>);
  return {config: JSON.stringify({peft_type: 'LORA', r: 1, lora_alpha: 1, ...config}), weights};
}

function modulesLike(nameOf: (i: number) => string, count: number): string[] {
  return Array.from({length: count}, (_, i) => nameOf(i));
}

function tableOf(patterns: readonly string[]): Record<string, number> {
  return Object.fromEntries(patterns.map(pattern => [pattern, 1]));
}

/** What an import throws, and the calls that it takes. */
async function attempt(
  modules: readonly string[],
  config: object,
  keyMap: KeyMap = {},
): Promise<{message: string; calls: number}> {
  const layers = Array.from({length: 100}, (_, i) => tf.layers.dense({units: 4, inputShape: [4], name: `layer${i}`}));
  const model = tf.sequential({layers});
  const files = adapterOf(modules, config);
  let message = 'none';
  const [calls = Infinity] = await callsOf(async () => {
    try {
      await loadAdapter(files, {model, keyMap});
    } catch (error) {
      expect(error).toBeInstanceOf(LoRAError);
      ({message} = error as Error);
    }
  });
  model.dispose();
  return {message, calls};
}

const MANY = modulesLike(i => `m.layers.${i % 97}.q${i}`, 5_000);
const DO_NOT_MATCH = /do not match the model/;
const TOO_LONG = /takes too long/;

const callsOf = countingCalls();

test.each([
  ['ten thousand tensors', MANY, {}, {}, DO_NOT_MATCH],
  ['a pattern for each of many modules', MANY, {rank_pattern: tableOf(MANY)}, {}, DO_NOT_MATCH],
  ['many modules that come whole', MANY, {modules_to_save: MANY.slice(1_000)}, {}, DO_NOT_MATCH],
  [
    'patterns that can match in very many ways',
    modulesLike(i => `${'a'.repeat(100)}${i}`, 10_000),
    {rank_pattern: tableOf(modulesLike(i => `a+.*.*.*.*.*.*.*.*x${i}`, 100))},
    {},
    TOO_LONG,
  ],
  [
    'patterns that count',
    ['a'.repeat(900)],
    {rank_pattern: tableOf(modulesLike(i => `a{0,900}x${i}`, 20_000))},
    {},
    TOO_LONG,
  ],
  [
    'patterns with large sets',
    modulesLike(i => `${'a'.repeat(60)}${i}`, 10_000),
    {rank_pattern: tableOf(modulesLike(i => `[${'qwertyuiopa'.repeat(150)}]+x${i}`, 10))},
    {},
    DO_NOT_MATCH,
  ],
  [
    'a key map of many stars',
    modulesLike(i => `${'a'.repeat(150)}${i}b`, 5_000),
    {},
    {[`${'*a'.repeat(40)}b`]: '*'.repeat(40)},
    DO_NOT_MATCH,
  ],
] as const)('an import of %s takes a bounded number of calls', async (_, modules, config, keyMap, message) => {
  await withoutLeaks(async () => {
    const result = await attempt(modules, config, keyMap);
    expect(result.message).toMatch(message);
    // Work that is quadratic in the modules alone takes 25 million calls.
    expect(result.calls).toBeLessThan(modules === MANY ? FEW / 10 : FEW);
  });
});

test('names that are longer than any module has are refused', async () => {
  const {message} = await attempt(['a.'.repeat(600)], {});
  expect(message).toMatch(/a name of more than 1000 characters/);
});
