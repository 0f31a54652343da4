import {disposeModel} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import type * as tf from '@tensorflow/tfjs';
import {chooseToken} from '../../../src/extensions/language/sampling';
import {DecodingSession} from '../../../src/extensions/language/session';
import {formatTrials} from '../../../src/extensions/quantized/kernels/trial';
import type {Case} from './case';

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

/** What a language model has to do on every backend. Its matrices are in blocks. */
export const languageCases = (read: ReadFixture): readonly Case[] =>
  ['llama', 'kQuants', 'gemma3'].map(kind => ({
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
  }));
