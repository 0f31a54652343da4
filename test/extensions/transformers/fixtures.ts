import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import type {Pooling} from 'tfjs-lora/transformers';

/** npm runs its scripts, and jest its tests, in the folder of the project. */
const FOLDER = 'test/fixtures/transformers';

/** The `tokenizer.json` of a tokenizer that knows these words, in the order of their tokens. */
export function wordTokenizer(words: readonly string[]) {
  return {
    version: '1.0',
    added_tokens: [],
    normalizer: {type: 'Lowercase'},
    pre_tokenizer: {type: 'Whitespace'},
    post_processor: null,
    decoder: null,
    model: {type: 'WordLevel', vocab: Object.fromEntries(words.map((word, i) => [word, i])), unk_token: '[UNK]'},
  };
}

interface Numbers {
  shape: number[];
  values: number[];
}

/** What PyTorch and PEFT computed with a model of the hub. */
export interface Expectation {
  /** Of a model for choices with an axis more. */
  ids: number[][];
  mask: number[][];
  /** Which frames are of a sound, for CTC. */
  frames?: number[][];
  /** Of a model for images, `[batch, height, width, channels]`. It has no tokens. */
  pixels?: Numbers;
  /** Of a model for patches of images, `[batch, patches, values]`: their mask, and the rows and columns of each image. */
  patchMask?: number[][];
  grids?: number[][];
  /** Of a model that hears: spectrograms, `[batch, frames, bins]`, or samples. Tokens and a mask come after them. */
  sound?: Numbers;
  /** Images of another size than that of the config, and what the model gives for them. */
  other?: Numbers & {base: number[]; baseShape: number[]};
  /** Of a model for pairs: what its encoders give apart, and its loss, which models for CTC have too. */
  imageVectors?: number[];
  textVectors?: number[];
  loss?: number;
  /** Of a model for CTC: the targets of its loss. */
  labels?: number[][];
  base: number[];
  adapted: number[];
  merged: number[];
  shape: number[];
  /** The gradient of the result that the gradients of the factors are for. */
  weights: number[];
  gradients: Record<string, Numbers>;
}

/** A tiny model that `transformers` wrote, and an adapter of PEFT for it. */
export interface Fixture {
  name: string;
  config: string;
  weights: Uint8Array;
  /** Whether the adapter is for a model in which the token embedding and the head are one. */
  tied: boolean;
  /** What a body gives. */
  pooling: Pooling;
  adapter: {config: string; weights: Uint8Array};
  expected: Expectation;
}

export const NAMES = readdirSync(FOLDER);

export function fixture(name: string): Fixture {
  const bytes = (file: string) => new Uint8Array(readFileSync(join(FOLDER, name, file)));
  const text = (file: string) => readFileSync(join(FOLDER, name, file), 'utf8');
  return {
    name,
    config: text('config.json'),
    weights: bytes('model.safetensors'),
    pooling: name.endsWith('Pooled') ? 'pooler' : 'none',
    tied: !name.endsWith('Apart'),
    adapter: {config: text('adapter_config.json'), weights: bytes('adapter_model.safetensors')},
    expected: JSON.parse(text('expected.json')) as Expectation,
  };
}

/** Which of the numbers of a result belong to tokens, and not to what fills up. */
export function atTokens(values: ArrayLike<number>, {mask, frames, shape, sound}: Expectation): number[] {
  const counts = frames ?? (sound === undefined ? mask : []);
  if (shape.length === 2 || counts.length === 0) {
    return Array.from(values);
  }
  const width = shape.at(-1)!;
  return Array.from(values).filter((_, i) => counts.flat()[Math.floor(i / width)] === 1);
}

export type Inputs = Pick<Expectation, 'ids' | 'mask' | 'pixels' | 'patchMask' | 'grids' | 'sound'>;

/** The inputs that the numbers are for. */
export function inputsOf({ids, mask, pixels, patchMask = [], grids = [], sound}: Inputs): tf.Tensor[] {
  const wholes = (lists: number[][][]) =>
    lists.filter(rows => rows.length > 0).map(rows => tf.tensor(rows, undefined, 'int32'));
  const [heard, seen] = [sound, pixels].map(given => (given ? [tf.tensor(given.values, given.shape)] : []));
  return [...heard!, ...wholes([ids, mask]), ...seen!, ...wholes([patchMask, grids])];
}

/** Whose files in the fixtures have names from before transformers 5. */
export const OLDER = /^(ast|beit|deit|dinov|gptNeoX|gte|nomicBert|segformer|swin(?!V2)|vit)/;
