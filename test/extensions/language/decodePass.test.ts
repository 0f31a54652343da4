import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, getAdapter, setAdapter} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import {DecodePass} from '../../../src/extensions/language/decodePass';
import {DecodingSession} from '../../../src/extensions/language/session';
import {withoutLeaks} from '../../helpers';
import {fileOf, GGUF_NAMES, MORE_GGUF_NAMES} from './ggufFiles';

/** The logits after each of some tokens; without planned passes if `model` is to call its layers. */
async function logitsOf(
  model: tf.LayersModel,
  tokens: readonly number[],
  {isPlanned, before}: {isPlanned: boolean; before: ((token: number) => void) | undefined},
): Promise<number[]> {
  const planned = jest.spyOn(DecodePass, 'of');
  if (!isPlanned) {
    planned.mockReturnValue(undefined);
  }
  const session = new DecodingSession(model, [[5, 6, 7]]);
  const logits: number[] = [];
  for (const token of tokens) {
    before?.(token);
    logits.push(...(await session.logits()).flatMap(row => [...row]));
    session.add([token]);
  }
  session.clear();
  expect(planned.mock.results.map(({value}) => value !== undefined)).toContain(isPlanned);
  planned.mockRestore();
  return logits;
}

/** Compares planned passes with those that call every layer. */
async function expectSameBits(
  model: tf.LayersModel,
  tokens: readonly number[],
  before?: (token: number) => void,
): Promise<void> {
  const planned = await logitsOf(model, tokens, {isPlanned: true, before});
  expect(planned).toEqual(await logitsOf(model, tokens, {isPlanned: false, before}));
}

/** An adapted model whose parameters are random. */
function adapted(model: tf.LayersModel, options: Parameters<typeof applyLoRA>[1], seed: number): tf.LayersModel {
  const result = applyLoRA(model, {targets: [/[qv]_proj$/, /down_proj$/], ...options});
  result.trainableWeights.forEach((weight, i) => {
    const value = tf.randomNormal(weight.shape as number[], 0, 0.5, 'float32', seed + i);
    weight.write(value);
    value.dispose();
  });
  return result;
}

test.each([...GGUF_NAMES, ...MORE_GGUF_NAMES])('a planned pass through %s has the bits of its layers', async name => {
  await withoutLeaks(async () => {
    const {model} = await loadGGUF(fileOf(name));
    await expectSameBits(model, [8, 9, 10]);
    disposeModel(model);
  });
});

/** The logits after some tokens of each text, one array for each token and text. */
async function logitsOfTexts(
  model: tf.LayersModel,
  starts: readonly (readonly number[])[],
  {copies, tokens}: {copies: number; tokens: readonly (readonly number[])[]},
): Promise<Float32Array[]> {
  const planned = jest.spyOn(DecodePass, 'of');
  const session = new DecodingSession(model, starts);
  await session.logits();
  session.select(starts.flatMap((_, i) => new Array<number>(copies).fill(i)));
  const logits: Float32Array[] = [];
  for (const added of tokens) {
    session.add(added);
    logits.push(...(await session.logits()));
  }
  session.clear();
  expect(planned.mock.results.map(({value}) => value !== undefined)).toEqual([true]);
  planned.mockRestore();
  return logits;
}

/** One row of a token for each of three texts, twice. */
const ADDED = [
  [8, 9, 10],
  [11, 3, 5],
];

test.each([...GGUF_NAMES, ...MORE_GGUF_NAMES])(
  'both of two texts through %s have the bits they have alone',
  async name => {
    await withoutLeaks(async () => {
      const {model} = await loadGGUF(fileOf(name));
      const lora = adapted(model, {targets: undefined, rank: 2, alpha: 4}, 1);
      const together = await logitsOfTexts(lora, [[5, 6, 7]], {copies: 2, tokens: ADDED.map(row => row.slice(0, 2))});
      for (const text of [0, 1]) {
        const tokens = ADDED.map(row => [row[text]!]);
        const alone = await logitsOfTexts(lora, [[5, 6, 7]], {copies: 1, tokens});
        expect(together.filter((_, i) => i % 2 === text)).toEqual(alone);
      }
      disposeModel(lora);
      disposeModel(model);
    });
  },
);

test.each(['llama', 'gemma3', 'gpt2'])('texts of other lengths through %s do not see each other', async name => {
  await withoutLeaks(async () => {
    const {model} = await loadGGUF(fileOf(name));
    const starts = [[5, 6, 7, 4, 9], [3, 2], [8]];
    const together = await logitsOfTexts(model, starts, {copies: 1, tokens: ADDED});
    for (const [text, start] of starts.entries()) {
      const alone = await logitsOfTexts(model, [start], {copies: 1, tokens: ADDED.map(row => [row[text]!])});
      together
        .filter((_, i) => i % 3 === text)
        .forEach((logits, i) => {
          expect([...logits]).toBeAllClose([...alone[i]!], {rtol: 1e-4, atol: 1e-5});
        });
    }
    disposeModel(model);
  });
});

test('adapters count, also one that is set between two tokens', async () => {
  await withoutLeaks(async () => {
    const {model} = await loadGGUF(fileOf('llama'));
    const lora = adapted(model, {rank: 2, alpha: 2}, 1);
    const one = getAdapter(lora);
    const others = [
      adapted(model, {rank: 4, alpha: 12}, 100),
      adapted(model, {rank: 2, alpha: 3}, 200),
      adapted(model, {method: 'ia3'}, 300),
    ];
    const adapters = others.map(other => getAdapter(other));
    await expectSameBits(lora, [8, 9, 10, 11, 12], token => {
      setAdapter(lora, adapters[token - 9] ?? one);
    });
    [one, ...adapters].forEach(adapter => {
      tf.dispose(Object.values(adapter.tensors));
    });
    [lora, ...others, model].forEach(each => {
      disposeModel(each);
    });
  });
});

test('the cache grows by doubling, and a shorter text keeps what it has in common with the one before', async () => {
  await withoutLeaks(async () => {
    const {model} = await loadGGUF(fileOf('qwen2'));
    const session = new DecodingSession(model, [[5, 6, 7]]);
    const texts = [5, 6, 7];
    const sizes = new Set<number>();
    for (let i = 0; i < 70; i++) {
      await session.logits();
      sizes.add(tf.memory().numBytes);
      texts.push(8 + (i % 20));
      session.add(texts.slice(-1));
    }
    // Before the pass is planned, with it, and with room for 64 and 128 positions.
    expect(sizes.size).toBe(3);
    session.replace([...texts.slice(0, 30), 3]);
    const [kept] = await session.logits();
    const anew = new DecodingSession(model, [[...texts.slice(0, 30), 3]]);
    const [whole] = await anew.logits();
    expect(kept).toBeAllClose(whole!, {rtol: 1e-4, atol: 1e-5});
    [session, anew].forEach(each => {
      each.clear();
    });
    disposeModel(model);
  });
});
