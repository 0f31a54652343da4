import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, getAdapter, LoRAError} from 'tfjs-lora';
import {encodeChats, generate, generateTexts, loadGGUF, measurePerplexity} from 'tfjs-lora/language';
import {setQuantizedActivations} from 'tfjs-lora/quantized';
import {loadTransformer} from 'tfjs-lora/transformers';
import {chooseToken} from '../../../src/extensions/language/sampling';
import {DecodingSession} from '../../../src/extensions/language/session';
import {TextPieces} from '../../../src/extensions/language/textPieces';
import {areActivationsRounded} from '../../../src/extensions/quantized/kernels/activations';
import {mlp} from '../../models';
import {withoutLeaks} from '../../helpers';
import {fixture} from '../transformers/fixtures';
import {expectedOf, fileOf, GGUF_NAMES, MORE_GGUF_NAMES} from './ggufFiles';

const GREEDY = {temperature: 0, topK: Infinity, topP: 1, repetitionPenalty: 1};
const highest = (scores: Float32Array) => chooseToken(scores, [], GREEDY, Math.random);

async function collected(pieces: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const piece of pieces) {
    text += piece;
  }
  return text;
}

/** Tokens of the highest scores, written with what was kept. */
async function writtenIds(
  model: tf.LayersModel,
  prompt: readonly number[],
  count: number,
  atOnce?: number,
): Promise<number[]> {
  const session = new DecodingSession(model, [prompt], atOnce);
  const ids = [...prompt];
  for (let i = 0; i < count; i++) {
    const [scores] = await session.logits();
    ids.push(highest(scores!));
    session.add(ids.slice(-1));
  }
  session.clear();
  return ids;
}

/** The same by a whole pass for each token. */
async function writtenAnew(model: tf.LayersModel, prompt: readonly number[], count: number): Promise<number[]> {
  const ids = [...prompt];
  for (let i = 0; i < count; i++) {
    const scores = tf.tidy(() => {
      const tokens = tf.tensor2d([ids], undefined, 'int32');
      const all = model.predict([tokens, tf.onesLike(tokens)]) as tf.Tensor3D;
      return tf.slice(all, [0, ids.length - 1, 0], [1, 1, -1]);
    });
    ids.push(highest((await scores.data()) as Float32Array));
    scores.dispose();
  }
  return ids;
}

/** An adapted model whose factors are not zero. */
function adaptedOf(model: tf.LayersModel): tf.LayersModel {
  const adapted = applyLoRA(model, {rank: 2, targets: [/[qv]_proj$/, /c_attn$/, /qkv_proj$/].slice(0, 1), seed: 3});
  for (const layer of adapted.layers) {
    for (const weight of layer.trainableWeights.filter(({originalName}) => originalName.endsWith('lora_B'))) {
      weight.write(tf.randomNormal(weight.shape as number[], 0, 1, 'float32', 5));
    }
  }
  return adapted;
}

describe('tokens of the highest scores', () => {
  test.each([...GGUF_NAMES, ...MORE_GGUF_NAMES])('of %s are those of transformers', async name => {
    const {ids, greedy} = expectedOf(name);
    await withoutLeaks(async () => {
      const {model} = await loadGGUF(fileOf(name));
      expect(await writtenIds(model, ids[0]!, greedy.length - ids[0]!.length)).toEqual(greedy);
      disposeModel(model);
    });
  });

  // Gemma's window is 3 positions, and from 8 positions on Phi-3 rotates by other angles.
  test.each(['gemma3', 'phi3', 'gpt2'])('of %s are those of whole passes', async name => {
    const {model} = await loadGGUF(fileOf(name), {gradientCheckpointing: true});
    const wanted = await writtenAnew(model, [7, 8, 9], 20);
    for (const atOnce of [undefined, 1, 5, 8, 64]) {
      expect(await writtenIds(model, [7, 8, 9], 20, atOnce)).toEqual(wanted);
    }
  });

  // Windows are of 2 positions, and models have at least 9.
  test.each(['gemma', 'gemma2Tied', 'olmo3', 'gptNeoX', 'phi', 'optTied', 'lfm2Tied', 'lfm2Trained'])(
    'of %s, whose files are those of the hub, are those of whole passes',
    async name => {
      const {config, weights} = fixture(name);
      const {model} = await loadTransformer({config, weights, tokenizer: false});
      const wanted = await writtenAnew(model, [7, 8, 9], 6);
      for (const atOnce of [1, 5]) {
        expect(await writtenIds(model, [7, 8, 9], 6, atOnce)).toEqual(wanted);
      }
    },
  );

  test('use an adapter', async () => {
    const {model} = await loadGGUF(fileOf('llama'));
    const adapted = adaptedOf(model);
    const ids = await writtenIds(adapted, [5, 6, 7], 16);
    expect(ids).toEqual(await writtenAnew(adapted, [5, 6, 7], 16));
    expect(ids).not.toEqual(await writtenIds(model, [5, 6, 7], 16));
    getAdapter(adapted).dispose();
  });
});

describe('generate', () => {
  test('gives the text of the tokens, in pieces of whole characters, and leaves nothing', async () => {
    await withoutLeaks(async () => {
      const {model, tokenizer} = await loadGGUF(fileOf('llama'));
      const prompt = 'the quick brown 日本';
      const ids = [...tokenizer.encode(prompt).ids];
      const wanted = (await writtenAnew(model, ids, 24)).slice(ids.length);
      const end = wanted.indexOf(2);
      const text = tokenizer.decode(end < 0 ? wanted : wanted.slice(0, end), {skip_special_tokens: true});
      expect(await collected(generate(model, tokenizer, prompt, {maxTokens: 24}))).toBe(text);
      disposeModel(model);
    });
  });

  test.each(['llama', 'gpt2', 'qwen2'])('of several texts returns the same as for each text alone: %s', async name => {
    const {model, tokenizer} = await loadGGUF(fileOf(name));
    const prompts = ['the', 'There is nothing that they will say: we have seen it', 'for (let i = 0'];
    const seeded = {maxTokens: 12, temperature: 0.8, topK: 20, seed: 4};
    const texts: string[][] = [];
    for (const options of [seeded, {maxTokens: 12}]) {
      const alone = prompts.map(each => collected(generate(model, tokenizer, each, options)));
      texts.push(await generateTexts(model, tokenizer, prompts, options));
      expect(texts.at(-1)).toEqual(await Promise.all(alone));
    }
    expect(texts[0]).not.toEqual(texts[1]);
    const same = await generateTexts(model, tokenizer, Array<string>(4).fill('the'), {temperature: 1.5, maxTokens: 8});
    expect(new Set(same).size).toBeGreaterThan(1);
  });

  // Phi-3 rotates by other angles from 8 positions on, which these texts come to one after the other; the other model
  // by those of a base that grows with each token.
  test.each<[string, () => Promise<tf.LayersModel>]>([
    ['phi3', async () => (await loadGGUF(fileOf('phi3'))).model],
    ['lfm2', async () => (await loadGGUF(fileOf('lfm2'))).model],
    [
      'llamaDynamic',
      async () => {
        const {config, weights} = fixture('llamaDynamic');
        return (await loadTransformer({config, weights})).model;
      },
    ],
  ])('several texts, each rotated by its own length, continue as in whole passes: %s', async (_, load) => {
    const model = await load();
    const prompts = [[5], [7, 8, 9, 10, 11, 12], [3, 4, 5]];
    const session = new DecodingSession(model, prompts);
    const ids = prompts.map(prompt => [...prompt]);
    for (let count = 0; count < 12; count++) {
      const next = (await session.logits()).map(highest);
      next.forEach((token, text) => ids[text]!.push(token));
      session.add(next);
    }
    session.clear();
    for (const [text, prompt] of prompts.entries()) {
      expect(ids[text]).toEqual(await writtenAnew(model, prompt, 12));
    }
  });

  test('ends a text at the last position of the model, and goes on with others', async () => {
    await withoutLeaks(async () => {
      const {model, tokenizer} = await loadGGUF(fileOf('gpt2')); // 64 positions
      const prompts = ['the', 'There is nothing that they will say: we have seen it'];
      const wanted = await Promise.all(
        prompts.map(async prompt => {
          const ids = [...tokenizer.encode(prompt).ids];
          // The token behind the last position is told too.
          const all = await writtenAnew(model, ids, Math.min(40, 65 - ids.length));
          const written = all.slice(ids.length);
          const end = written.indexOf(2);
          return tokenizer.decode(end < 0 ? written : written.slice(0, end), {skip_special_tokens: true});
        }),
      );
      expect([...tokenizer.encode(prompts[1]!).ids].length).toBeGreaterThan(26);
      expect(await generateTexts(model, tokenizer, prompts, {maxTokens: 40})).toEqual(wanted);
      expect(await collected(generate(model, tokenizer, prompts[1]!, {maxTokens: 40}))).toBe(wanted[1]);
      const long = 'the '.repeat(65);
      const adapted = applyLoRA(model, {rank: 2});
      for (const each of [model, adapted]) {
        expect(() => generate(each, tokenizer, long)).toThrow(
          /^The text has \d+ tokens, but the model only 64 positions/,
        );
      }
      [adapted, model].forEach(disposeModel);
    });
  });

  test('refuses logits that are not finite, by name', async () => {
    const {model, tokenizer} = await loadGGUF(fileOf('llama'));
    const adapted = adaptedOf(model);
    const [factor] = adapted.layers.flatMap(({trainableWeights}) => trainableWeights);
    factor!.write(tf.fill(factor!.shape as number[], NaN));
    await withoutLeaks(async () => {
      for (const temperature of [0, 1]) {
        const text = collected(generate(adapted, tokenizer, 'the', {temperature}));
        await expect(text).rejects.toThrow(/logits for the next token are not finite \(320 of 320\)/);
      }
    });
  });

  test('refuses a model that sees what follows', async () => {
    const {tokenizer, model: decoder} = await loadGGUF(fileOf('gemma3'));
    disposeModel(decoder);
    const {config, weights} = fixture('gemma3BothSides');
    for (const gradientCheckpointing of [false, true]) {
      const both = {...(JSON.parse(config) as object), architectures: ['Gemma3ForCausalLM'], tie_word_embeddings: true};
      const {model} = await loadTransformer({config: both, weights, gradientCheckpointing});
      const seeing = /^The model must be causal, but ".*" attends to later/;
      expect(() => generate(model, tokenizer, 'a')).toThrow(seeing);
      await expect(measurePerplexity(model, tokenizer, ['a b'])).rejects.toThrow(seeing);
      await expect(encodeChats(model, tokenizer, [{text: 'a b'}])).rejects.toThrow(seeing);
    }
  });

  test('draws the same of the same seed, and ends at a stop, a token of the end, and a signal', async () => {
    const {model, tokenizer} = await loadGGUF(fileOf('llama'));
    const draw = (more: object) =>
      collected(generate(model, tokenizer, 'the dog', {maxTokens: 20, temperature: 1.5, seed: 9, ...more}));
    const text = await draw({});
    expect(await draw({})).toBe(text);
    expect(await draw({seed: 10})).not.toBe(text);
    const stop = text.slice(4, 6);
    expect(await draw({stop})).toBe(text.slice(0, text.indexOf(stop)));
    const controller = new AbortController();
    const pieces: string[] = [];
    const aborted = async () => {
      for await (const piece of generate(model, tokenizer, 'the dog', {maxTokens: 60, signal: controller.signal})) {
        pieces.push(piece);
        controller.abort(new Error('enough'));
      }
    };
    await expect(aborted()).rejects.toMatchObject({code: 'ERR_ABORTED', cause: new Error('enough')});
    expect(pieces.length).toBe(1);
  });

  test('rounds inputs to 8 bits in one generation, while another one does not', async () => {
    const {model, tokenizer} = await loadGGUF(fileOf('llama'));
    const logitsOf = async (quantizedActivations?: 'int8' | 'float32') => {
      const session = new DecodingSession(model, [[5, 6, 7]]);
      session.quantizedActivations = quantizedActivations;
      await session.logits();
      session.add([8]);
      const [logits] = await session.logits();
      session.clear();
      return logits;
    };
    const [exact, rounded] = [await logitsOf(), await logitsOf('int8')];
    expect(rounded).not.toEqual(exact);
    expect(rounded).toBeAllClose(exact!, {rtol: 0, atol: 0.3});
    setQuantizedActivations('int8');
    expect([await logitsOf(), await logitsOf('float32')]).toEqual([rounded, exact]);
    setQuantizedActivations('float32');
    const begin = (more: object) => generate(model, tokenizer, 'the dog', {maxTokens: 8, ...more});
    const controller = new AbortController();
    const generations = [
      begin({}),
      begin({quantizedActivations: 'int8', maxTokens: 60, signal: controller.signal}),
    ] as const;
    let text = '';
    for await (const piece of generations[0]) {
      text += piece;
      await generations[1].next();
      expect(areActivationsRounded()).toBe(false);
    }
    controller.abort();
    await expect(generations[1].next()).rejects.toMatchObject({code: 'ERR_ABORTED'});
    expect(text).toBe(await collected(begin({})));
    expect(await logitsOf()).toEqual(exact);
  });

  test('answers a chat by the template of the model', async () => {
    const seen: unknown[] = [];
    const sources: string[] = [];
    class Template {
      constructor(source: string) {
        sources.push(source);
      }
      render(values: Record<string, unknown>): string {
        seen.push(values);
        return '<|im_start|>user\nhi<|im_end|>\n';
      }
    }
    const {model, tokenizer, tokenizerConfig} = await loadGGUF(fileOf('llama'), {Template});
    const messages = [{role: 'user', content: 'hi'}];
    const text = await collected(generate(model, tokenizer, messages, {maxTokens: 6}));
    expect(sources).toEqual([tokenizerConfig.chat_template]);
    // The other is what the template writes after an answer.
    expect(seen.filter(values => (values as {messages: unknown}).messages === messages)).toEqual([
      {messages, add_generation_prompt: true, bos_token: '<|im_start|>', eos_token: '<|im_end|>'},
    ]);
    const same = '<|im_start|>user\nhi<|im_end|>\n';
    expect(text).toBe(await collected(generate(model, tokenizer, same, {maxTokens: 6})));
    expect(() => generate(model, tokenizer, [{role: 1}] as never)).toThrow(/messages {role, content}/);
    const bare = {encode: () => ({ids: [1]}), decode: () => ''};
    expect(() => generate(model, bare, messages)).toThrow(/^The tokenizer has no chat template/);
  });

  test('refuses immediately what it cannot do', async () => {
    const {model, tokenizer} = await loadGGUF(fileOf('llama'));
    const wrong = {maxTokens: 0, temperature: -1, topK: 0.5, topP: 2, repetitionPenalty: 0, stop: '', seed: 0.1};
    const rounded = {quantizedActivations: 'int4'};
    const all = {...wrong, ...rounded} as never;
    const names = Object.keys({...wrong, ...rounded});
    expect(() => generate(model, tokenizer, 'a', all)).toThrow(new RegExp(names.join(' must.*\n')));
    expect(() => generate(model, {} as never, 'a')).toThrow(/tokenizer must have functions encode and decode/);
    expect(() => generate(mlp().model, tokenizer, 'a')).toThrow(/The model must map tokens and a mask to logits/);
    expect(() => generate(model, tokenizer, '')).toThrow(/^The prompt is empty/);
    await expect(generateTexts(model, tokenizer, ['a', ''])).rejects.toThrow(/^Prompt 1: The prompt is empty/);
    await expect(generateTexts(model, tokenizer, [])).rejects.toThrow(LoRAError);
  });
});

describe('the next token', () => {
  const scores = () => Float32Array.of(1, 3, 2, -1);
  const draws = (sampling: Partial<typeof GREEDY>, random: number, seen: number[] = []) =>
    chooseToken(scores(), seen, {...GREEDY, temperature: 1, ...sampling}, () => random);

  test('is drawn by its probability', () => {
    // softmax: 0.0899, 0.6641, 0.2443, 0.0122 × …; from the likeliest on: 1, 2, 0, 3
    const weights = [3, 2, 1, -1].map(Math.exp);
    const all = weights.reduce((sum, weight) => sum + weight);
    const first = weights[0]! / all;
    const second = (weights[0]! + weights[1]!) / all;
    expect([draws({}, first - 1e-6), draws({}, first + 1e-6)]).toEqual([1, 2]);
    expect([draws({}, second - 1e-6), draws({}, second + 1e-6), draws({}, 0.9999)]).toEqual([2, 0, 3]);
    expect(draws({temperature: 0.01}, 0.999)).toBe(1);
  });

  test('comes of the topK likeliest, or of those that have topP together', () => {
    expect(draws({topK: 2}, 0.9999)).toBe(2);
    expect(draws({topP: 0.6}, 0.9999)).toBe(1); // the likeliest has 0.66
    expect(draws({topP: 0.7}, 0.9999)).toBe(2);
  });

  test('is less often one that is there', () => {
    expect(draws({temperature: 0}, 0)).toBe(1);
    expect(draws({temperature: 0, repetitionPenalty: 2}, 0, [1])).toBe(2); // 3 / 2 < 2
    expect(chooseToken(Float32Array.of(-Infinity, -1.5), [], GREEDY, Math.random)).toBe(1);
    for (const wrong of [NaN, Infinity]) {
      expect(() => chooseToken(Float32Array.of(1, wrong, 2), [], GREEDY, Math.random)).toThrow('(1 of 3)');
    }
    expect(() => chooseToken(Float32Array.of(-Infinity, -Infinity), [], GREEDY, Math.random)).toThrow('(2 of 2)');
    expect(chooseToken(Float32Array.of(-1, -1.5), [0], {...GREEDY, repetitionPenalty: 2}, Math.random)).toBe(1);
  });
});

test('pieces of a text are whole characters, and together the text', async () => {
  for (const name of ['llama', 'kQuants', 'gemma3']) {
    const {model, tokenizer} = await loadGGUF(fileOf(name));
    disposeModel(model);
    const text = 'naïve 日本 👩‍👩‍👧 🙂 the  end é';
    const prompt = [...tokenizer.encode('the dog', {add_special_tokens: false}).ids];
    const pieces = new TextPieces(tokenizer, prompt, []);
    const ids = tokenizer.encode(`the dog${text}`, {add_special_tokens: false}).ids.slice(prompt.length);
    const all = [...ids.map(id => pieces.add(id)), pieces.end()];
    expect(all.join('')).toBe(text);
    expect(all.filter(piece => piece.includes('\ufffd'))).toEqual([]);
  }
});

test('perplexity is e to the mean of what the tokens surprise by', async () => {
  const {model, tokenizer} = await loadGGUF(fileOf('llama'));
  const texts = ['the quick brown fox', 'jumps'];
  let [sum, count] = [0, 0];
  for (const text of texts) {
    const ids = [...tokenizer.encode(text).ids];
    const tokens = tf.tensor2d([ids], undefined, 'int32');
    const y = model.predict([tokens, tf.onesLike(tokens)]) as tf.Tensor3D;
    const scores = y.arraySync()[0]!;
    for (let i = 1; i < ids.length; i++) {
      const row = scores[i - 1]!;
      sum += Math.log(row.reduce((all, score) => all + Math.exp(score), 0)) - row[ids[i]!]!;
      count++;
    }
  }
  expect([await measurePerplexity(model, tokenizer, texts)]).toBeAllClose([Math.exp(sum / count)], {rtol: 1e-4});
  await expect(measurePerplexity(model, tokenizer, [''])).rejects.toThrow(/^No text has two tokens/);
});

test.each(['gpt2', 'optTied', 'lfm2Tied'])(
  'a %s that another copy of the library made generates the same text',
  async name => {
    const {config, weights, tied} = fixture(name);
    const {model: here} = await loadTransformer({config, weights, tied, tokenizer: false});
    const expected = await writtenIds(here, [3, 1, 2], 6);
    await jest.isolateModulesAsync(async () => {
      jest.doMock('@tensorflow/tfjs', () => tf);
      const copy = await import('tfjs-lora/transformers');
      expect(copy.loadTransformer).not.toBe(loadTransformer);
      const {model} = await copy.loadTransformer({config, weights, tied, tokenizer: false});
      expect(await writtenIds(model, [3, 1, 2], 6)).toEqual(expected);
      disposeModel(model);
    });
    disposeModel(here);
  },
);
