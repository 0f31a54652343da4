import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel} from 'tfjs-lora';
import {encodeChats, generateTexts, type Tokenizer, loadGGUF, type Prompt} from 'tfjs-lora/language';
import {loadTransformer, type TransformerSources} from 'tfjs-lora/transformers';
import {languageFacts} from '../../../src/extensions/transformers/load/languageFacts';
import {numbers} from '../../helpers';
import {reloaded} from '../../models';
import {temporaryFolder} from '../../temporaryFolder';
import {fixture} from '../transformers/fixtures';
import {fileOf} from './ggufFiles';

const {config, weights} = fixture('llama');
const fields = JSON.parse(config) as Record<string, unknown>;
const {vocab_size: size} = fields as {vocab_size: number};
/** A letter for each token; that of the last is special. */
const letter = (id: number) => String.fromCharCode(256 + id);
const PROMPT = [7, 2, 3];
const TEXT = PROMPT.map(letter).join('');
const tokenizer: Tokenizer = {
  encode: text => ({ids: Array.from(text, each => each.charCodeAt(0) - 256)}),
  decode: (ids, {skip_special_tokens: isSkipped} = {}) =>
    ids
      .filter(id => isSkipped !== true || id !== size - 1)
      .map(letter)
      .join(''),
};
/** Its source comes after each message. */
class Template {
  constructor(private readonly source: string) {}
  render({messages}: Record<string, unknown>): string {
    return (messages as {content: string}[]).map(({content}) => `${content}${this.source}`).join('');
  }
}
const withTemplate = (tokenizer: Tokenizer, source: string): Tokenizer => ({
  ...tokenizer,
  chatTemplate: new Template(source),
});

beforeAll(() => tf.setBackend('cpu'));

/** Tokens of the highest scores, whatever they are, by whole passes. */
function continued(model: tf.LayersModel, prompt: readonly number[], count: number): number[] {
  const ids = [...prompt];
  while (ids.length < prompt.length + count) {
    const scores = tf.tidy(() => {
      const tokens = tf.tensor2d([ids], undefined, 'int32');
      return numbers(tf.unstack(tf.squeeze(model.predict([tokens, tf.onesLike(tokens)]) as tf.Tensor)).at(-1)!);
    });
    ids.push(scores.indexOf(Math.max(...scores)));
  }
  return ids.slice(prompt.length);
}

/** What a model writes. */
async function written(sources: Partial<TransformerSources> | string, prompt: Prompt = TEXT): Promise<string> {
  const {model} = await (typeof sources === 'string'
    ? loadTransformer(sources)
    : loadTransformer({config, weights, ...sources}));
  const {template} = languageFacts(model);
  const own = template === undefined ? tokenizer : withTemplate(tokenizer, template);
  const [text] = await generateTexts(model, own, [prompt], {maxTokens: 12});
  disposeModel(model);
  return text!;
}

describe('a text of a model of the hub', () => {
  let ids: number[];
  let none: Record<string, unknown>;
  /** What is written before a token comes for the first time. */
  const before = (id: number) => ids.slice(0, ids.indexOf(id)).map(letter).join('');

  beforeAll(async () => {
    const {model} = await loadTransformer({config, weights});
    ids = continued(model, PROMPT, 12);
    disposeModel(model);
    none = {...fields, eos_token_id: null};
    expect(new Set(ids).size).toBeGreaterThan(2);
    expect(ids).not.toContain(size - 1);
  });

  test('ends at the tokens that the config names, one or several', async () => {
    const [first, second] = [...new Set(ids.slice(1))].filter(id => id !== ids[0]);
    expect(await written({config: none})).toBe(ids.map(letter).join(''));
    expect(await written({config: {...fields, eos_token_id: second}})).toBe(before(second!));
    expect(await written({config: {...fields, eos_token_id: [second, first]}})).toBe(before(first!));
  });

  test('ends at those of the generation config too, given or in the folder, and saved', async () => {
    const [first, second] = [...new Set(ids.slice(1))].filter(id => id !== ids[0]);
    const generation = {eos_token_id: [first, second]};
    expect(await written({config: {...fields, eos_token_id: second}, generation})).toBe(before(first!));
    expect(await written({config: none, generation: JSON.stringify(generation)})).toBe(before(first!));
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'config.json'), JSON.stringify(none));
    writeFileSync(join(folder, 'model.safetensors'), weights);
    expect(await written(folder)).toBe(ids.map(letter).join(''));
    writeFileSync(join(folder, 'generation_config.json'), JSON.stringify(generation));
    expect(await written(folder)).toBe(before(first!));
    const {model: base} = await loadTransformer(folder);
    const adapted = applyLoRA(base, {rank: 1, targets: [/q_proj$/]});
    const loaded = await reloaded(adapted);
    expect(languageFacts(loaded).ends).toEqual([first, second]);
    [loaded, adapted, base].forEach(disposeModel);
    writeFileSync(join(folder, 'generation_config.json'), '{');
    await expect(loadTransformer(folder)).rejects.toThrow("The generation's config cannot be read");
  });

  test('comes of messages by the template of the files', async () => {
    const chat = [{role: 'user', content: TEXT}];
    const source = letter(size - 1) + letter(0);
    const {model} = await loadTransformer({config: none, weights});
    const answer = continued(model, [...PROMPT, size - 1, 0], 12);
    disposeModel(model);
    const text = (all: number[]) =>
      all
        .slice(0, all.indexOf(size - 1))
        .map(letter)
        .join('');
    expect(answer.indexOf(size - 1)).toBeGreaterThan(3);
    const tokenizers: Record<string, unknown>[] = [
      {chat_template: source},
      {chat_template: [...[{name: 'tools', template: 'x'}], {name: 'default', template: source}]},
    ];
    for (const tokenizerConfig of tokenizers) {
      expect(await written({config: none, tokenizerConfig}, chat)).toBe(text(answer));
    }
    await expect(written({config: none}, chat)).rejects.toThrow(/^The tokenizer has no chat template/);
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'config.json'), JSON.stringify(none));
    writeFileSync(join(folder, 'model.safetensors'), weights);
    const bos = {content: '<s>', lstrip: false};
    writeFileSync(
      join(folder, 'tokenizer_config.json'),
      JSON.stringify({chat_template: 'x', bos_token: bos, eos_token: '</s>', add_bos_token: true}),
    );
    const {model: withX} = await loadTransformer(folder);
    expect(languageFacts(withX)).toEqual({ends: [], template: 'x', tokens: {bos_token: '<s>', eos_token: '</s>'}});
    disposeModel(withX);
    writeFileSync(join(folder, 'chat_template.jinja'), source);
    expect(await written(folder, chat)).toBe(text(answer));
  });

  test('ends at the special token that the template writes behind an answer, of messages alone', async () => {
    const chat = [{role: 'user', content: TEXT}];
    const {model: plain} = await loadTransformer({config: none, weights});
    const end = Array.from({length: size - 1}, (_, id) => id).find(id =>
      continued(plain, [...PROMPT, id], 12).includes(id, 2),
    )!;
    disposeModel(plain);
    // The same letters, and another of them is special.
    const other: Tokenizer = {
      ...tokenizer,
      decode: (given, {skip_special_tokens: isSkipped} = {}) =>
        given
          .filter(id => isSkipped !== true || id !== end)
          .map(letter)
          .join(''),
    };
    const {model} = await loadTransformer({config: none, weights});
    const answer = continued(model, [...PROMPT, end], 12);
    expect(answer).toContain(end);
    const [text] = await generateTexts(model, withTemplate(other, letter(end)), [chat], {maxTokens: 12});
    expect(text).toBe(answer.slice(0, answer.indexOf(end)).map(letter).join(''));
    const [asText] = await generateTexts(model, other, [TEXT + letter(end)], {maxTokens: 12});
    expect(asText).toBe(
      answer
        .filter(id => id !== end)
        .map(letter)
        .join(''),
    );
    // A letter that is not special ends nothing.
    const [all] = await generateTexts(model, withTemplate(tokenizer, letter(end)), [chat], {maxTokens: 12});
    expect(all).toBe(answer.map(letter).join(''));
  });
});

describe('a model of a GGUF file', () => {
  test('ends at tokens that say so, which are special then', async () => {
    const bytes = fileOf('llama');
    bytes.set(new TextEncoder().encode('<|end|>'), Buffer.from(bytes).indexOf('<think>'));
    const {model, tokenizer: made} = await loadGGUF(bytes);
    // <|im_end|>, which the file names; <|endoftext|>; and the last token, which the file says is none of control.
    expect(languageFacts(model).ends).toEqual([2, 0, 318]);
    expect(made.decode([...made.encode('a<|end|>').ids], {skip_special_tokens: true})).toBe('a');
    const data = await encodeChats(model, made, [{prompt: 'the', completion: ' fox'}], {batchSize: 1});
    await data.forEachAsync(({xs, ys}) => {
      expect(numbers(ys as tf.Tensor)).toContain(2); // the first of them ends what is learned
      tf.dispose([xs, ys] as tf.TensorContainer);
    });
  });
});
