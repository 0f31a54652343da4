import {applyLoRA, compileModel, disposeModel, sgd} from 'tfjs-lora';
import {compilePreferences, encodePreferences, loadGGUF, type PreferenceMethod} from 'tfjs-lora/language';
import * as tf from '@tensorflow/tfjs';
import {chooseToken} from '../../../src/extensions/language/sampling';
import {DecodingSession} from '../../../src/extensions/language/session';
import {CHUNK} from '../../../src/extensions/transformers/ops/headInChunks';
import {formatTrials} from '../../../src/extensions/quantized/kernels/trial';
import {type Case, elsewhere} from './case';

/** Reads a file of `test/fixtures/gguf`. */
export type ReadFixture = (name: string) => Promise<Uint8Array<ArrayBuffer>>;

const GREEDY = {temperature: 0, topK: Infinity, topP: 1, repetitionPenalty: 1};

/** Goes on with the tokens of the highest scores. */
async function written(model: tf.LayersModel, prompt: readonly number[], length: number): Promise<number[]> {
  const session = new DecodingSession(model, [prompt]);
  const ids = [...prompt];
  while (ids.length < length) {
    const [scores] = await session.logits();
    ids.push(chooseToken(scores!, [], GREEDY, Math.random));
    session.add(ids.slice(-1));
  }
  session.clear();
  return ids;
}

const PAIRS = [
  {prompt: 'the fox', chosen: ' jumps', rejected: ' over the lazy dog'},
  {prompt: 'a dog', chosen: ' sleeps and eats', rejected: ' is'},
];
const JUDGED = PAIRS.flatMap(({prompt, chosen, rejected}) => [
  {prompt, completion: chosen, label: true},
  {prompt, completion: rejected, label: false},
]);

/** The losses of three steps on preferences. */
async function curve(file: Uint8Array<ArrayBuffer>, method: PreferenceMethod): Promise<number[]> {
  const {model, tokenizer} = await loadGGUF(file);
  const adapted = applyLoRA(model, {rank: 2, targets: [/q_proj$/, /up_proj$/], seed: 1});
  const data = await encodePreferences(adapted, tokenizer, method === 'kto' ? JUDGED : PAIRS, {seed: 1});
  const optimizer = sgd({learningRate: 0.3});
  compilePreferences(adapted, {method, beta: 0.5, optimizer});
  const {history} = await adapted.fitDataset(data, {epochs: 3, verbose: 0});
  optimizer.dispose();
  [adapted, model].forEach(disposeModel);
  return history.loss as number[];
}

/** The losses of steps on a text and on preferences, with logits of at most so many positions at a time. */
async function inChunks(file: Uint8Array<ArrayBuffer>, positions: number): Promise<number[]> {
  const whole = CHUNK.logits;
  const {model, tokenizer} = await loadGGUF(file);
  CHUNK.logits = positions * model.outputs[0]!.shape[2]!;
  const adapted = applyLoRA(model, {rank: 2, targets: [/q_proj$/, 'lm_head'], seed: 1});
  const optimizer = sgd({learningRate: 0.3});
  try {
    compileModel(adapted, {optimizer, metrics: ['accuracy']});
    const ids = tf.tensor2d([[1, 5, 2, 7, 3, 6, 4]], undefined, 'int32');
    const {history} = await adapted.fit([ids, tf.onesLike(ids)], tf.reverse(ids, 1), {epochs: 3, verbose: 0});
    ids.dispose();
    const data = await encodePreferences(adapted, tokenizer, PAIRS, {seed: 1});
    compilePreferences(adapted, {beta: 0.5, optimizer});
    const more = await adapted.fitDataset(data, {epochs: 3, verbose: 0});
    return [history.loss, history.acc, more.history.loss].flat() as number[];
  } finally {
    CHUNK.logits = whole;
    optimizer.dispose();
    [adapted, model].forEach(disposeModel);
  }
}

/** What a language model has to do on every backend. Its matrices are in blocks. */
export const languageCases = (read: ReadFixture): readonly Case[] => [
  ...(['dpo', 'kto', 'orpo'] as const).map(method => ({
    behaviour: `a language model learns from preferences by ${method} as on the cpu backend`,
    tolerance: 1e-4,
    halfTolerance: null,
    run: async () => {
      const file = await read('llama.gguf');
      const expected = await elsewhere('cpu', () => curve(file, method));
      const losses = await curve(file, method);
      return Math.max(...losses.map((loss, i) => Math.abs(loss - expected[i]!)));
    },
  })),
  {
    behaviour: 'losses of a language model in chunks of positions are those of all positions on the cpu backend',
    tolerance: 1e-4,
    halfTolerance: null,
    run: async () => {
      const file = await read('llama.gguf');
      const expected = await elsewhere('cpu', () => inChunks(file, 1000));
      const losses = await inChunks(file, 3);
      return Math.max(...losses.map((loss, i) => Math.abs(loss - expected[i]!)));
    },
  },
  ...['llama', 'kQuants', 'gemma3'].map(kind => ({
    behaviour: 'a language model generates the same tokens as in transformers',
    kind,
    tolerance: 0,
    halfTolerance: null,
    run: async () => {
      const {ids, greedy} = JSON.parse(new TextDecoder().decode(await read(`${kind}.json`))) as {
        ids: number[][];
        greedy: number[];
      };
      const {model} = await loadGGUF(await read(`${kind}.gguf`));
      // The first token is computed in pieces, while the programs of a card are tried out.
      const begun = await written(model, ids[0]!, ids[0]!.length + 1);
      await formatTrials();
      const text = await written(model, begun, greedy.length);
      disposeModel(model);
      return greedy.filter((id, i) => id !== text[i]).length;
    },
  })),
];
