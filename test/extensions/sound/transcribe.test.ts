import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel} from 'tfjs-lora';
import {encodeTranscripts, transcribe, type TranscribeOptions, type TranscriptPiece} from 'tfjs-lora/sound';
import {loadTransformer} from 'tfjs-lora/transformers';
import {firstTokens, nextToken} from '../../../src/extensions/sound/transcriptRules';
import {speechFacts} from '../../../src/extensions/transformers/load/speechFacts';
import {useBackend, withoutLeaks} from '../../helpers';
import {fixture} from '../transformers/fixtures';

interface Case {
  generation: Record<string, unknown>;
  options: {language?: string; task?: 'transcribe' | 'translate'; return_timestamps?: boolean};
  /** What transformers generates for each clip. */
  tokens?: number[][];
  /** With timestamps, segments for each clip and the long one. */
  segments?: {start: number; end: number; tokens: number[]}[][];
}

const FOLDER = 'test/fixtures/transcripts';
const {clips, long, cases} = JSON.parse(readFileSync(join(FOLDER, 'expected.json'), 'utf8')) as {
  clips: number[][][];
  /** Of nearly four windows. */
  long: number[][];
  cases: Case[];
};
const config = readFileSync(join(FOLDER, 'config.json'), 'utf8');
const weights = new Uint8Array(readFileSync(join(FOLDER, 'model.safetensors')));
const [END, NO_TIMESTAMPS] = [20, 27];

/** A letter for each token. */
const textOf = (ids: readonly number[]) => ids.map(id => String.fromCharCode(256 + id)).join('');
const tokenizer = {
  decode: (ids: number[]) => {
    expect(ids).not.toHaveLength(0); // `@huggingface/tokenizers` refuses an empty list
    return textOf(ids);
  },
};

async function load({generation}: Pick<Case, 'generation'>): Promise<tf.LayersModel> {
  return (await loadTransformer({config, weights, generation, tokenizer: false})).model;
}

async function piecesOf(model: tf.LayersModel, clip: number[][], options: TranscribeOptions = {}) {
  const features = tf.tensor3d([clip]);
  const pieces: TranscriptPiece[] = [];
  try {
    for await (const piece of transcribe(model, tokenizer, features, options)) {
      pieces.push(piece);
    }
  } finally {
    features.dispose();
  }
  return pieces;
}

function optionsOf({options: {return_timestamps: timestamps = false, ...others}}: Case): TranscribeOptions {
  return {...others, timestamps};
}

/** Segments with a text, as pieces. */
function piecesIn(segments: NonNullable<Case['segments']>[number]): TranscriptPiece[] {
  const seconds = (value: number) => Math.round(100 * value) / 100;
  return segments.flatMap(({start, end, tokens}) => {
    const text = textOf(tokens.filter(token => token <= NO_TIMESTAMPS));
    return text === '' ? [] : [{text, start: seconds(start), end: seconds(end)}];
  });
}

test.each(cases.map((each, i) => [i, each] as const))(
  'case %i is transcribed as transformers does',
  async (_, each) => {
    await withoutLeaks(async () => {
      const model = await load(each);
      for (const [i, clip] of [...clips, ...(each.segments ? [long] : [])].entries()) {
        const pieces = await piecesOf(model, clip, optionsOf(each));
        if (each.segments) {
          expect(pieces).toEqual(piecesIn(each.segments[i]!));
        } else {
          const expected = each.tokens![i]!.filter(token => token !== END);
          const at = expected.indexOf(NO_TIMESTAMPS) + 1; // the tokens before end with it
          expect(pieces.map(({text}) => text).join('')).toBe(textOf(expected.slice(at)));
        }
      }
      disposeModel(model);
    });
  },
);

test('a clip that is longer than a window has timestamps unless they are refused', async () => {
  const model = await load(cases[7]!);
  const pieces = await piecesOf(model, long, {language: 'de', task: 'translate'});
  expect(pieces).toEqual(piecesIn(cases[7]!.segments!.at(-1)!));
  await expect(piecesOf(model, long, {timestamps: false})).rejects.toThrow(
    'The clip has 37 frames, and the model hears 10 at a time.',
  );
});

test.each([false, true])('the cache changes no token, with gradient checkpointing: %s', async gradientCheckpointing => {
  const {generation} = cases[2]!;
  const {model} = await loadTransformer({config, weights, generation, tokenizer: false, gradientCheckpointing});
  const adapted = applyLoRA(model, {rank: 2, seed: 3, targets: [/encoder_attn\/(q|v)_proj$/]});
  const facts = speechFacts(adapted);
  for (const clip of clips.slice(0, 2)) {
    const made: number[] = [];
    const tokens = firstTokens(facts, {language: 'de', task: undefined, timestamps: false}) as number[];
    while (tokens.length < 14 && made.at(-1) !== END) {
      const logits = tf.tidy(() => {
        const all = adapted.predict([tf.tensor3d([clip]), tf.tensor2d([tokens], undefined, 'int32')]) as tf.Tensor3D;
        return tf.slice3d(all, [0, tokens.length - 1, 0], [1, 1, -1]).dataSync<'float32'>();
      });
      made.push(nextToken(logits, made, facts, false));
      tokens.push(made.at(-1)!);
    }
    const pieces = await piecesOf(adapted, clip, {language: 'de'});
    expect(pieces.map(({text}) => text).join('')).toBe(textOf(made.filter(token => token !== END)));
  }
});

test('texts are encoded as the labels of transformers, each token after those before it', async () => {
  await useBackend('cpu');
  const model = await load(cases[2]!);
  const encode = (text: string) => ({ids: Array.from(text, char => (char === ' ' ? 0 : char.charCodeAt(0) - 96))});
  const {inputs, decoderIds, targets} = encodeTranscripts(model, {encode}, ['ab', ' c'], {language: 'de'});
  expect(inputs).toEqual([decoderIds]);
  expect(decoderIds!.arraySync()).toEqual([
    [21, 23, 25, NO_TIMESTAMPS, 0, 1, 2],
    [21, 23, 25, NO_TIMESTAMPS, 0, 3, END],
  ]);
  expect(targets.arraySync()).toEqual([
    [23, 25, NO_TIMESTAMPS, 0, 1, 2, END],
    [23, 25, NO_TIMESTAMPS, 0, 3, END, -100],
  ]);
  tf.dispose([decoderIds!, targets]);
  expect(() => encodeTranscripts(model, {encode}, ['ab'])).toThrow('language must be one of en, de, fr');
  const tooLong = () => encodeTranscripts(model, {encode}, ['abcdefghij'], {language: 'en', task: 'translate'});
  expect(tooLong).toThrow('Text 0 has 15 tokens with those before it, but the model has 14 positions.');
});

describe('refuses', () => {
  beforeAll(() => useBackend('cpu'));
  const clip = () => tf.ones([1, 10, 3]);

  test.each<[string, () => unknown, TranscribeOptions, string]>([
    ['an unknown language', clip, {language: 'xx'}, 'language must be one of en, de, fr, got "xx".'],
    ['an unknown task', clip, {task: 'sing' as 'translate'}, 'task must be one of transcribe, translate, got "sing".'],
    ['no tokens', clip, {maxTokens: 0}, 'maxTokens must be'],
    ['an unknown option', clip, {beams: 3} as TranscribeOptions, 'beams'],
    [
      'several clips',
      () => tf.ones([2, 10, 3]),
      {},
      'clip must be the features of one clip, [1, frames, 3], got [2, 10, 3].',
    ],
    ['no tensor', () => [[1]], {}, 'clip must be a tensor'],
  ])('%s', async (_, make, options, message) => {
    const model = await load(cases[2]!);

    expect(() => transcribe(model, tokenizer, make() as tf.Tensor, options)).toThrow(message);
  });

  test('a model without a decoder, and one without its first token', async () => {
    const {config: ofClasses, weights: file} = fixture('whisperClasses');
    const {model} = await loadTransformer({config: ofClasses, weights: file});
    const features = tf.ones([1, 14, 5]);
    expect(() => transcribe(model, tokenizer, features)).toThrow('WhisperForConditionalGeneration');
    const fields = JSON.parse(config) as Record<string, unknown>;
    const {model: other} = await loadTransformer({
      config: {...fields, decoder_start_token_id: null},
      weights,
      tokenizer: false,
    });
    expect(() => transcribe(other, tokenizer, tf.ones([1, 10, 3]))).toThrow('decoder_start_token_id');
  });

  test('to go on after an abort, and frees everything', async () => {
    await withoutLeaks(async () => {
      const model = await load(cases[0]!);
      const features = tf.tensor3d([clips[0]!]);
      const controller = new AbortController();
      const texts: string[] = [];
      const run = async () => {
        for await (const {text} of transcribe(model, tokenizer, features, {signal: controller.signal})) {
          texts.push(text);
          controller.abort();
        }
      };
      await expect(run()).rejects.toMatchObject({code: 'ERR_ABORTED'});
      expect(texts).toHaveLength(1);
      features.dispose();
      disposeModel(model);
    });
  });
});
