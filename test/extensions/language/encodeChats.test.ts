import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel, disposeModel, LoRAError} from 'tfjs-lora';
import {
  type ChatBatches,
  type ChatRecord,
  type ChatTemplate,
  encodeChats,
  type Tokenizer,
  loadGGUF,
  type ChatMessage,
} from 'tfjs-lora/language';
import {parseChats} from 'tfjs-lora/records';
import {numbers, withoutLeaks} from '../../helpers';
import {mlp} from '../../models';
import {fileOf} from './ggufFiles';

const [START, END] = ['<|im_start|>', '<|im_end|>'];

/** What the template of the file says, without an engine of templates: each message between its two tokens. */
class Template {
  render({messages, add_generation_prompt: isAsked}: Record<string, unknown>): string {
    const texts = (messages as ChatMessage[]).map(({role, content}) => `${START}${role}\n${content}${END}\n`);
    return texts.join('') + (isAsked === true ? `${START}assistant\n` : '');
  }
}

const TALK: ChatMessage[] = [
  {role: 'system', content: 'be brief'},
  {role: 'user', content: 'what does the fox do'},
  {role: 'assistant', content: 'it jumps'},
  {role: 'user', content: 'over what'},
  {role: 'assistant', content: 'over the lazy dog'},
];

let model: tf.LayersModel;
let tokenizer: Tokenizer;

beforeAll(async () => ({model, tokenizer} = await loadGGUF(fileOf('llama'))));

/** The batches of an epoch: of each example its tokens and its targets, without what fills up. */
async function epochOf(given: ChatBatches | Promise<ChatBatches>): Promise<{tokens: number[]; targets: number[]}[]> {
  const rows: {tokens: number[]; targets: number[]}[] = [];
  const data = await given;
  await data.forEachAsync(({xs, ys}) => {
    const [tokens, mask] = xs as tf.Tensor2D[];
    const [count, positions] = tokens!.shape;
    const [ids, seen, targets] = [tokens!, mask!, ys as tf.Tensor2D].map(numbers);
    for (let row = 0; row < count; row++) {
      const of = (values: number[]) => values.slice(row * positions, (row + 1) * positions);
      const length = of(seen!).indexOf(0) < 0 ? positions : of(seen!).indexOf(0);
      expect(of(seen!)).toEqual(Array.from({length: positions}, (_, i) => (i < length ? 1 : 0)));
      expect(new Set(of(targets!).slice(length))).toEqual(new Set(length < positions ? [-100] : []));
      rows.push({tokens: of(ids!).slice(0, length), targets: of(targets!).slice(0, length)});
    }
    tf.dispose([xs, ys] as tf.TensorContainer);
  });
  return rows;
}

const textOf = (ids: readonly number[]) => tokenizer.decode([...ids], {skip_special_tokens: false});
const learnedOf = ({targets}: {targets: number[]}) => textOf(targets.filter(id => id >= 0));
const withTemplate = (chatTemplate: ChatTemplate | undefined) =>
  Object.assign(Object.create(tokenizer) as Tokenizer, {chatTemplate});
const encode = (
  records: ChatRecord[],
  {template = new Template(), ...options}: {template?: ChatTemplate} & Record<string, unknown> = {},
) => encodeChats(model, withTemplate(template), records, {seed: 1, ...options});

test('the loss covers the answers of a chat, each up to the token that ends it', async () => {
  const [row, ...others] = await epochOf(encode([TALK]));
  expect(others).toEqual([]);
  const text = new Template().render({messages: TALK});
  const ids = [...tokenizer.encode(text, {add_special_tokens: false}).ids];
  expect(row!.tokens).toEqual(ids.slice(0, -1));
  row!.targets.forEach((target, i) => expect([-100, ids[i + 1]]).toContain(target));
  expect(learnedOf(row!)).toBe(`it jumps${END}over the lazy dog${END}`);
});

test("the loss covers no given message, and with trainOn 'all' every token", async () => {
  const [prompt, completion] = [TALK.slice(0, 4), TALK.slice(4)];
  const [row] = await epochOf(encode([{prompt, completion}]));
  expect(learnedOf(row!)).toBe(`over the lazy dog${END}`);
  const [all] = await epochOf(encode([{messages: TALK}], {trainOn: 'all'}));
  expect(all!.targets).toEqual(
    [...tokenizer.encode(new Template().render({messages: TALK}), {add_special_tokens: false}).ids].slice(1),
  );
});

test('a chat may begin with the assistant, even if the template renders no chat without messages', async () => {
  class Strict extends Template {
    override render(values: Record<string, unknown>): string {
      const [first] = values.messages as ChatMessage[];
      return (first!.role === 'system' ? '' : `${START}system\nbe kind${END}\n`) + super.render(values);
    }
  }
  const talk = [{role: 'assistant', content: 'the fox jumps'}, ...TALK.slice(1, 3)];
  for (const Class of [Template, Strict]) {
    const [row] = await epochOf(encode([talk], {template: new Class()}));
    expect(learnedOf(row!)).toBe(`the fox jumps${END}it jumps${END}`);
  }
});

test('the loss covers the whole of an answer without a token that ends it', async () => {
  class Plain {
    render({messages}: Record<string, unknown>): string {
      return (messages as ChatMessage[]).map(({role, content}) => `${role}: ${content}\n`).join('');
    }
  }
  const [row] = await epochOf(encode([TALK.slice(1, 3)], {template: new Plain()}));
  expect(learnedOf(row!)).toContain('it jumps\n');
});

test('the loss covers each token of a completion or a text, and its end-of-text token', async () => {
  const rows = await epochOf(
    encode([{prompt: 'the quick ', completion: 'brown fox'}, {text: 'lazy dog'}], {batchSize: 1}),
  );
  const [text, completion] = rows.map(learnedOf).sort((one, other) => one.length - other.length);
  expect(completion!.trimStart()).toBe(`brown fox${END}`);
  // Nothing stands before the first token of a text, unless the tokenizer puts one there.
  const [first] = tokenizer.encode('lazy dog').ids;
  expect(textOf([first!]) + text!).toBe(`lazy dog${END}`);
});

test('batches are filled up to a multiple, and come in the order of their seed and epoch', async () => {
  const records = Array.from({length: 7}, (_, i) => ({
    prompt: `number ${i} `,
    completion: 'is a number '.repeat(i + 1),
  }));
  const shapes: number[][] = [];
  const data = await encode(records, {batchSize: 3, padToMultipleOf: 8});
  expect(data.size).toBe(3);
  await withoutLeaks(async () => {
    await data.forEachAsync(({xs, ys}) => {
      shapes.push((ys as tf.Tensor).shape);
      tf.dispose([xs, ys] as tf.TensorContainer);
    });
  });
  expect(shapes.map(([count]) => count)).toEqual([3, 3, 1]);
  shapes.forEach(([, positions]) => expect(positions! % 8).toBe(0));
  const [second, other] = [await epochOf(data), await encode(records, {batchSize: 3})];
  await other.forEachAsync(batch => tf.dispose(batch));
  expect(await epochOf(other)).toEqual(second);
  expect(await epochOf(other)).not.toEqual(second);
  const total = second.reduce((sum, {targets}) => sum + targets.filter(id => id >= 0).length, 0);
  expect(data.trainedTokens).toBe(total);
});

test('an example that is too long is truncated and counted, and skipped if no answer is left', async () => {
  const records = [
    {prompt: 'the', completion: ' fox'},
    {prompt: 'the', completion: ' quick brown fox jumps over the lazy dog'},
    {prompt: 'the quick brown fox jumps over the lazy dog and the quick brown fox', completion: ' sleeps'},
  ];
  const data = await encode(records, {maxLength: 8});
  expect([data.truncated, data.skipped]).toEqual([2, 1]);
  const rows = await epochOf(data);
  expect(Math.max(...rows.map(({tokens}) => tokens.length))).toBe(7); // the eighth is a target alone
  await expect(encode(records.slice(2), {maxLength: 8})).rejects.toThrow(/^The loss covers no token/);
});

test('short texts are packed into few rows, and the loss covers the same tokens', async () => {
  const texts = ['the quick brown fox jumps over the lazy dog', 'lazy dog', 'brown fox', 'the dog', 'over the fox'];
  const records = texts.map(text => ({text}));
  const apart = await epochOf(encode(records, {batchSize: 1}));
  // A row holds the longest text, and one token more than it takes.
  const longest = Math.max(...apart.map(({tokens}) => tokens.length + 1));
  const data = await encode(records, {batchSize: 1, maxLength: longest, packing: true});
  const rows = await epochOf(data);
  expect(data.size).toBe(rows.length);
  expect(rows.length).toBeLessThan(apart.length);
  expect(Math.max(...rows.map(({tokens}) => tokens.length + 1))).toBe(longest);

  const whole = ({tokens, targets}: {tokens: number[]; targets: number[]}) => [...tokens, targets.at(-1)!];
  const found = rows.flatMap(row => textOf(whole(row)).split(END).slice(0, -1));
  expect(found.sort()).toEqual([...texts].sort());
  const sorted = (all: typeof rows) => all.flatMap(({targets}) => targets.filter(id => id >= 0)).sort((a, b) => a - b);
  expect(sorted(rows)).toEqual(sorted(apart));
  expect(data.trainedTokens).toBe(sorted(apart).length);
  // The first token of a text behind another is told from nothing.
  for (const {tokens, targets} of rows) {
    tokens.forEach((id, i) => expect(targets[i]! < 0).toBe(textOf([id]) === END));
  }
});

test.each([
  ['llama', 'cpu'],
  ['llama', 'wasm'],
  ['lfm2', 'wasm'],
])('isolated examples of a row compute what they compute alone: %s, on %s', async (name, backend) => {
  await tf.setBackend(backend);
  const base = (await loadGGUF(fileOf(name), {tokenizer: false})).model;
  const texts = ['the quick brown fox', 'lazy dog', 'brown fox jumps', 'the dog', 'over the fox'];
  const records = texts.map(text => ({text}));
  const adapted = applyLoRA(base, {rank: 2, seed: 3, init: 'zeros'});
  adapted.trainableWeights.forEach((weight, i) => {
    // To tfjs, a seed of 0 is none.
    tf.tidy(() => void weight.write(tf.randomNormal(weight.shape as number[], 0, 0.1, 'float32', i + 1)));
  });
  compileModel(adapted, {optimizer: tf.train.sgd(1)});
  /** The loss of an epoch, and the factors after one step on all of it. */
  const step = async (options: Record<string, unknown>) => {
    const data = await encode(records, {batchSize: 8, ...options});
    const before = adapted.getWeights().map(weight => weight.clone());
    const {history} = await adapted.fitDataset(data, {epochs: 1});
    const after = adapted.trainableWeights.flatMap(weight => numbers(weight.read()));
    adapted.setWeights(before);
    tf.dispose(before);
    return {loss: history.loss![0] as number, after, rows: data.size};
  };
  await withoutLeaks(async () => {
    const alone = await step({maxLength: 12});
    const isolated = await step({maxLength: 12, packing: {isolated: true}});
    expect(isolated.loss).toBeCloseTo(alone.loss, 5);
    expect(isolated.after).toBeAllClose(alone.after, {rtol: 1e-4, atol: 1e-5});
    const {loss} = await step({maxLength: 12, packing: true});
    expect(Math.abs(loss - alone.loss)).toBeGreaterThan(1e-3);
  });
  const loss = async () =>
    (await adapted.evaluateDataset(await encode(records, {maxLength: 12, packing: {isolated: true}}), {})) as tf.Scalar;
  const value = await loss();
  expect(numbers(value)[0]).toBeGreaterThan(0);
});

test('examples cannot be isolated where each position of a row has an embedding', async () => {
  const gpt2 = await loadGGUF(fileOf('gpt2'));
  const options = {maxLength: 12, packing: {isolated: true}};
  await expect(encodeChats(gpt2.model, gpt2.tokenizer, [{text: 'the fox'}], options)).rejects.toThrow(
    'a learned embedding for each position',
  );
  disposeModel(gpt2.model);
  await expect(encode([TALK], {packing: 'isolated'})).rejects.toThrow(
    'packing must be true, false or {isolated: true}',
  );
});

test('packing fills the fullest row that has room, the longest texts first', async () => {
  const numbersOf = (counts: number[]) => counts.map(count => ({text: 'dog '.repeat(count).trim()}));
  const lengths = async (options: object) =>
    (await epochOf(encode(numbersOf([1, 4, 2, 3]), {batchSize: 1, ...options})))
      .map(({tokens}) => tokens.length + 1)
      .sort((a, b) => a - b);
  const [a, b, c, d] = (await lengths({})) as [number, number, number, number];
  // The two in the middle do not fit into one row; each has room for the shortest, and the fuller one takes it.
  expect(b + c).toBeGreaterThan(c + a);
  expect(await lengths({maxLength: Math.max(d, c + a), packing: true})).toEqual([d, b, c + a].sort((x, y) => x - y));
});

test('a model learns to answer from the batches', async () => {
  const adapted = applyLoRA(model, {rank: 4, targets: [/[qv]_proj$/, /down_proj$/], seed: 2});
  const data = await encode([{prompt: TALK.slice(0, 2), completion: TALK.slice(2, 3)}, TALK], {batchSize: 2});
  compileModel(adapted, {optimizer: adam({learningRate: 0.03})});
  const {history} = await adapted.fitDataset(data, {epochs: 30, verbose: 0});
  const losses = history.loss as number[];
  expect(losses.at(-1)).toBeLessThan(0.5 * losses[0]!);
});

test('a template that renders earlier messages differently is refused, unless each answer is a record', async () => {
  class Forgetful extends Template {
    override render(values: Record<string, unknown>): string {
      const messages = values.messages as ChatMessage[];
      const short = messages.map(({role, content}, i) => ({role, content: i < messages.length - 1 ? '…' : content}));
      return super.render({...values, messages: short});
    }
  }
  const options = {template: new Forgetful()};
  const earlier = "The model's chat template renders earlier";
  await expect(encode([TALK.slice(0, 3), TALK], options)).rejects.toThrow(`Record 0: ${earlier}`);
  await expect(encode([{prompt: 'a', completion: 'b'}, TALK], options)).rejects.toThrow(`Record 1: ${earlier}`);
});

test('an error of the template or the tokens names the index of the record', async () => {
  class Refusing extends Template {
    override render(values: Record<string, unknown>): string {
      if ((values.messages as ChatMessage[]).some(({content}) => content === 'no')) {
        throw new Error('roles must alternate');
      }
      return super.render(values);
    }
  }
  const no = [{role: 'user', content: 'no'}];
  await expect(encode([TALK, no], {template: new Refusing()})).rejects.toThrow(
    "Record 1: The model's chat template refuses the messages: roles must alternate",
  );
  const plain = encodeChats(model, withTemplate(undefined), [{text: 'a'}, TALK]);
  await expect(plain).rejects.toThrow(/^Record 1: The tokenizer has no chat template/);
  const wrong = {encode: (text: string) => ({ids: text === 'b' ? [320] : [1, 2]}), decode: () => ''};
  const records = ['a', 'b'].map(text => ({text}));
  await expect(encodeChats(model, wrong, records)).rejects.toMatchObject({
    message: expect.stringMatching(/^Record 1: The tokenizer does not fit the model.* 320/) as string,
    code: 'ERR_MISFIT',
  });
});

test('packing needs the length of a row', async () => {
  await expect(encode([TALK], {packing: true})).rejects.toThrow(
    'packing needs maxLength, the number of tokens in a row.',
  );
  const one = encode([TALK], {packing: 1, maxLength: 99});
  await expect(one).rejects.toThrow('packing must be true, false or {isolated: true}, got 1.');
});

test('records and options that cannot be encoded are refused', async () => {
  const refused = (data: Promise<unknown>, message: string) => expect(data).rejects.toThrow(message);
  await refused(encode([]), 'records must be a list of chats or texts, got an empty one.');
  await refused(
    encode([{say: 1} as never]),
    'Record 0 is not an example. Expected {messages} of {role, content}, {prompt, completion} or {text}, got {"say":1}',
  );
  await refused(encode([TALK], {trainOn: 'user'}), "trainOn must be 'assistant' or 'all', got \"user\".");
  await refused(encode([TALK], {maxLength: 0}), 'maxLength must be a whole number, 1 or more, got 0.');
  await refused(encodeChats(mlp().model, tokenizer, [TALK]), 'The model must map tokens and a mask to logits');
});

test('lines of JSON are parsed, and a wrong one is reported with its number', () => {
  const lines = [
    JSON.stringify({messages: TALK}),
    '',
    JSON.stringify({prompt: 'a', completion: 'b'}),
    '{"text": "c"}',
    '',
  ];
  expect(parseChats(lines.join('\r\n'))).toEqual([{messages: TALK}, {prompt: 'a', completion: 'b'}, {text: 'c'}]);
  expect(() => parseChats('{"text": "c"}\n{"text": ')).toThrow(LoRAError);
  expect(() => parseChats('{"text": "c"}\n{"text": ')).toThrow(/^Line 2 is not JSON: /);
  expect(() => parseChats('\n{"prompt": "a"}')).toThrow(/^Line 2 is not an example/);
  expect(() => parseChats('\n')).toThrow('The text has no records.');
});
