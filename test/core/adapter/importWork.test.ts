import * as tf from '@tensorflow/tfjs';
import {loadAdapter, type KeyMap, LoRAError} from '../../../src';
import {encodeSafetensors} from '../../../src/platform/formats/encodeSafetensors';
import {withoutLeaks} from '../../helpers';
import {countingCalls} from '../../work';

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
