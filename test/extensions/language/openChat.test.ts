import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, getAdapter, LoRAError, setAdapter, withAdapter} from 'tfjs-lora';
import {type ChatTemplate, generate, type Tokenizer, loadGGUF, type ChatMessage, openChat} from 'tfjs-lora/language';
import {DecodingSession} from '../../../src/extensions/language/session';
import {withoutLeaks} from '../../helpers';
import {fileOf} from './ggufFiles';

/** Each message between two tokens of the fixtures, if they have them. */
class Plain implements ChatTemplate {
  render({messages, add_generation_prompt: isPrompt}: Record<string, unknown>): string {
    const texts = this.shown(messages as ChatMessage[]).map(({role, content}) => `${role}: ${content}\n`);
    return texts.join('') + (isPrompt === true ? 'assistant: ' : '');
  }
  protected shown(messages: readonly ChatMessage[]): readonly ChatMessage[] {
    return messages;
  }
}

/** Leaves out what was answered before the last message of the user, as templates do with earlier reasoning. */
class Forgetful extends Plain {
  protected override shown(messages: readonly ChatMessage[]): readonly ChatMessage[] {
    const last = messages.map(({role}) => role).lastIndexOf('user');
    return messages.map((each, i) => (each.role === 'assistant' && i < last ? {...each, content: '…'} : each));
  }
}

const TEXTS = ['the quick', 'a dog', 'what of it'];
const user = (content: string): ChatMessage => ({role: 'user', content});

async function collected(pieces: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const piece of pieces) {
    text += piece;
  }
  return text;
}

async function loaded(name: string, template?: ChatTemplate): Promise<{model: tf.LayersModel; tokenizer: Tokenizer}> {
  const {model, tokenizer} = await loadGGUF(fileOf(name));
  return {model, tokenizer: template === undefined ? tokenizer : Object.assign(tokenizer, {chatTemplate: template})};
}

/** How many positions each pass of a model computes. */
function passesOf(model: tf.LayersModel): number[] {
  const sizes: number[] = [];
  const [embedding] = model.layers.filter(({name}) => /embed_tokens$|wte$/.test(name));
  const call = embedding!.call.bind(embedding);
  jest.spyOn(embedding!, 'call').mockImplementation((inputs, kwargs) => {
    sizes.push([inputs].flat()[0]!.shape[1]!);
    return call(inputs, kwargs);
  });
  return sizes;
}

/** An adapted model whose update is not zero. */
function adaptedOf(model: tf.LayersModel): tf.LayersModel {
  const adapted = applyLoRA(model, {rank: 2, targets: [/[qv]_proj$/], seed: 3});
  for (const {trainableWeights} of adapted.layers) {
    for (const weight of trainableWeights.filter(({originalName}) => originalName.endsWith('lora_B'))) {
      tf.tidy(() => void weight.write(tf.randomNormal(weight.shape as number[], 0, 1, 'float32', 5)));
    }
  }
  return adapted;
}

describe('each answer of a chat is that of generate for all messages', () => {
  // Gemma's window is 3 positions; Phi-3 rotates by other angles from 8 positions on.
  test.each([
    ...['llama', 'llama3', 'qwen2', 'qwen3'].map(name => [name, undefined] as const),
    ...['kQuants', 'gemma3', 'phi3', 'qwen2'].map(name => [name, new Plain()] as const),
    ...['qwen2', 'gemma3', 'phi3', 'lfm2'].map(name => [name, new Forgetful()] as const),
  ])('%s', async (name, template) => {
    await withoutLeaks(async () => {
      const {model, tokenizer} = await loaded(name, template);
      const chat = openChat(model, tokenizer, {system: 'be kind', maxTokens: 5, maxLength: 400});
      const messages: ChatMessage[] = [{role: 'system', content: 'be kind'}];
      for (const text of TEXTS) {
        messages.push(user(text));
        const wanted = await collected(generate(model, tokenizer, messages, {maxTokens: 5}));
        expect(await collected(chat.send(text))).toBe(wanted);
        messages.push({role: 'assistant', content: wanted});
        expect(chat.messages).toEqual(messages);
      }
      chat.dispose();
      disposeModel(model);
    });
  });

  test('as drawn by the same seed', async () => {
    const {model, tokenizer} = await loaded('llama');
    const drawn = {maxTokens: 8, temperature: 1.2, topK: 40, seed: 6};
    const chat = openChat(model, tokenizer, {...drawn, maxLength: 900});
    const one = await collected(chat.send('hello'));
    const wanted = [user('hello'), {role: 'assistant', content: one}, user('and')];
    expect(await collected(chat.send('and', {maxTokens: 4}))).toBe(
      await collected(generate(model, tokenizer, wanted, {...drawn, maxTokens: 4})),
    );
  });
});

test.each(['qwen2', 'lfm2'])('a turn computes the new positions alone: %s', async name => {
  const {model, tokenizer} = await loaded(name, new Plain());
  const chat = openChat(model, tokenizer, {maxTokens: 3, maxLength: 400});
  const sizes = passesOf(model);
  const lengthOf = (messages: ChatMessage[]) =>
    tokenizer.encode(new Plain().render({messages, add_generation_prompt: true}), {add_special_tokens: false}).ids
      .length;
  await collected(chat.send('the quick brown fox jumps over the lazy dog'));
  const first = lengthOf([user('the quick brown fox jumps over the lazy dog')]);
  expect(sizes.splice(0)[0]).toBe(first);
  const text = 'a dog';
  const second = lengthOf([...chat.messages, user(text)]);
  await collected(chat.send(text));
  expect(sizes[0]).toBeLessThan(second - first + 5);
  expect(chat.positionsLeft).toBe(400 - second - 3);
});

test.each([undefined, 1, 5, 8, 64])(
  'a text replaces another with what both begin with, %s positions at once',
  async atOnce => {
    await withoutLeaks(async () => {
      for (const name of ['gemma3', 'phi3', 'gpt2', 'lfm2']) {
        const {model} = await loadGGUF(fileOf(name));
        const session = new DecodingSession(model, [[7, 8, 9, 10, 11, 12]], atOnce);
        const texts = [
          [7, 8, 9, 10, 11, 12, 13],
          [7, 8, 9, 20, 21],
          [7, 8, 9, 20, 21],
          [7, 8],
          [30, 8, 9, 20, 21, 22, 23, 24, 25, 26, 27],
          [30, 8, 9, 20, 21, 22, 23, 24, 25, 26, 40],
          [30, 8, 9],
        ];
        for (const text of texts) {
          session.add([5]);
          await session.logits();
          session.replace(text);
          const whole = new DecodingSession(model, [text], 1);
          const [[found], [wanted]] = [await session.logits(), await whole.logits()];
          expect(found).toBeAllClose(wanted!, {rtol: 1e-4, atol: 1e-5});
          whole.clear();
        }
        session.clear();
        disposeModel(model);
      }
    });
  },
);

test('an adapter that is set, changed or trained between two turns counts for what is cached too', async () => {
  await withoutLeaks(async () => {
    const {model, tokenizer} = await loaded('llama');
    const adapted = adaptedOf(model);
    const adapter = getAdapter(adapted);
    const chat = openChat(adapted, tokenizer, {maxTokens: 6, maxLength: 900});
    const agrees = async (text: string) => {
      const wanted = await collected(generate(adapted, tokenizer, [...chat.messages, user(text)], {maxTokens: 6}));
      expect(await collected(chat.send(text))).toBe(wanted);
    };
    await agrees('the quick');
    setAdapter(adapted, null);
    await agrees('brown');
    setAdapter(adapted, adapter);
    await agrees('fox');
    await withAdapter(adapted, null, () => agrees('jumps'));
    await agrees('over');
    const [weight] = adapted.layers.flatMap(({trainableWeights}) => trainableWeights);
    tf.tidy(() => void weight!.write(tf.mul(weight!.read(), 3)));
    await agrees('the lazy');
    chat.dispose();
    adapter.dispose();
    [adapted, model].forEach(disposeModel);
  });
});

test('an answer that is aborted or left leaves the chat as it was, at every moment', async () => {
  await withoutLeaks(async () => {
    const {model, tokenizer} = await loaded('qwen2');
    const chat = openChat(model, tokenizer, {maxTokens: 5, maxLength: 900});
    await collected(chat.send('the quick'));
    const [before, positionsLeft] = [chat.messages, chat.positionsLeft];
    for (let moment = 0; moment < 4; moment++) {
      const controller = new AbortController();
      const reason = new Error('enough');
      if (moment === 0) {
        controller.abort(reason);
      }
      const pieces: string[] = [];
      const answer = (async () => {
        for await (const piece of chat.send('brown fox', {signal: controller.signal})) {
          if (pieces.push(piece) === moment) {
            controller.abort(reason);
          }
        }
      })();
      await expect(answer).rejects.toMatchObject({code: 'ERR_ABORTED', cause: reason});
      expect([chat.messages, chat.positionsLeft]).toEqual([before, positionsLeft]);
      const left = chat.send('lazy dog');
      await left.next();
      await left.return();
      expect(chat.messages).toBe(before);
    }
    const wanted = await collected(generate(model, tokenizer, [...before, user('brown fox')], {maxTokens: 5}));
    expect(await collected(chat.send('brown fox'))).toBe(wanted);
    chat.dispose();
    disposeModel(model);
  });
});

test('a pass that fails leaves a chat that answers', async () => {
  await withoutLeaks(async () => {
    const {model, tokenizer} = await loaded('qwen2');
    const chat = openChat(model, tokenizer, {maxTokens: 4, maxLength: 900});
    await collected(chat.send('the quick'));
    const [head] = model.layers.slice(-1);
    const spy = jest.spyOn(head!, 'call').mockImplementation(() => {
      throw new Error('no memory');
    });
    await expect(collected(chat.send('brown'))).rejects.toThrow('no memory');
    spy.mockRestore();
    const wanted = await collected(generate(model, tokenizer, [...chat.messages, user('brown')], {maxTokens: 4}));
    expect(await collected(chat.send('brown'))).toBe(wanted);
    chat.dispose();
    disposeModel(model);
  });
});

describe('where the positions run out', () => {
  test('a chat drops the oldest turns after the system message, and answers as generate does', async () => {
    const {model, tokenizer} = await loaded('qwen2', new Plain());
    const lengthOf = (messages: readonly ChatMessage[]) =>
      tokenizer.encode(new Plain().render({messages, add_generation_prompt: true}), {add_special_tokens: false}).ids
        .length;
    const system = {role: 'system', content: 'be kind'};
    const maxLength = 100;
    const chat = openChat(model, tokenizer, {system: system.content, maxTokens: 6, maxLength});
    let dropped = 0;
    let all: readonly ChatMessage[] = [system];
    for (let turn = 0; turn < 8; turn++) {
      const text = `number ${turn} of the dogs`;
      await collected(chat.send(text));
      const {messages} = chat;
      const answer = messages.at(-1)!;
      const given = messages.slice(0, -1);
      // By hand: the turns of the user and the assistant, two messages each, that leave 6 of the 100 positions free.
      let kept = [...all, user(text)];
      while (lengthOf(kept) > maxLength - 6) {
        kept = [system, ...kept.slice(3)];
        dropped++;
      }
      expect(given).toEqual(kept);
      expect(answer.content).toBe(await collected(generate(model, tokenizer, kept, {maxTokens: 6})));
      expect(chat.positionsLeft).toBeGreaterThanOrEqual(0);
      all = messages;
    }
    expect(dropped).toBeGreaterThan(2);
  });

  test('an answer ends at the last position of the model, as that of generate', async () => {
    const {model, tokenizer} = await loaded('gpt2'); // 64 positions
    const chat = openChat(model, tokenizer);
    const text = 'hi';
    const wanted = await collected(generate(model, tokenizer, [user(text)]));
    expect(chat.positionsLeft).toBe(64);
    expect(await collected(chat.send(text))).toBe(wanted);
    expect(chat.positionsLeft).toBeLessThan(64);
  });

  test('a message that does not fit by itself is refused, and the chat goes on', async () => {
    const {model, tokenizer} = await loaded('gpt2');
    const chat = openChat(model, tokenizer, {maxTokens: 2});
    await expect(collected(chat.send('the '.repeat(64)))).rejects.toMatchObject({code: 'ERR_TOO_LARGE'});
    await collected(chat.send('the'));
    expect(chat.messages).toHaveLength(2);
  });
});

test('a chat goes on from earlier messages', async () => {
  const {model, tokenizer} = await loaded('llama');
  const one = openChat(model, tokenizer, {system: 'be kind', maxTokens: 4, maxLength: 900});
  await collected(one.send('the quick'));
  const other = openChat(model, tokenizer, {messages: one.messages, maxTokens: 4, maxLength: 900});
  expect(other.positionsLeft).toBeLessThan(900);
  expect(await collected(other.send('fox'))).toBe(await collected(one.send('fox')));
});

test('a chat refuses what it cannot do', async () => {
  await withoutLeaks(async () => {
    const {model, tokenizer} = await loaded('llama');
    const bare = Object.assign(Object.create(tokenizer) as Tokenizer, {chatTemplate: undefined});
    expect(() => openChat(model, bare, {system: 'a'})).toThrow(/^The tokenizer has no chat template/);
    expect(() => openChat(model, bare)).toThrow(/^The tokenizer has no chat template/);
    const wrong: [object, string][] = [
      [{system: 5}, 'system must be a string, got 5.'],
      [{messages: [5]}, 'messages must be a list of {role, content}, got [5].'],
      [{maxLength: 1}, 'maxLength must be a whole number, 2 or more, got 1.'],
      [{maxTokens: 0}, 'maxTokens must be a positive integer, got 0.'],
      [{sistem: 'a'}, 'There is no option "sistem".'],
    ];
    for (const [options, message] of wrong) {
      expect(() => openChat(model, tokenizer, options)).toThrow(message);
    }
    const chat = openChat(model, tokenizer, {maxTokens: 4});
    expect(() => chat.send(5 as never)).toThrow(LoRAError);
    expect(() => chat.send('a', {topK: -1})).toThrow('topK must be a positive integer, got -1.');
    const pending = chat.send('the quick');
    await pending.next();
    expect(() => chat.send('a')).toThrow(expect.objectContaining({code: 'ERR_BUSY'}) as Error);
    await pending.return();
    await collected(chat.send('a'));
    const last = chat.send('a');
    await last.next();
    chat.dispose();
    await collected(last);
    expect(() => chat.send('a')).toThrow(expect.objectContaining({code: 'ERR_DISPOSED'}) as Error);
    chat.dispose();
    disposeModel(model);
  });
});
