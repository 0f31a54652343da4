import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {disposeModel, LoRAError} from 'tfjs-lora';
import {encodeSounds, encodeTranscripts, transcribe, type TranscribeOptions} from 'tfjs-lora/sound';
import {loadTransformer} from 'tfjs-lora/transformers';
import {CharacterTokenizer} from '../../../src/extensions/transformers/load/characterTokenizer';
import {withoutLeaks} from '../../helpers';
import {countingCalls, expectLinear} from '../../work';
import {fixture} from '../transformers/fixtures';
import {clip} from './clips';

async function expectRefusal(f: () => unknown, message: string): Promise<void> {
  const error: unknown = await Promise.resolve()
    .then(f)
    .catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(LoRAError);
  expect((error as Error).message).toContain(message);
}

const WHISPER = {feature_extractor_type: 'WhisperFeatureExtractor'};
const AST = {feature_extractor_type: 'ASTFeatureExtractor'};

test.each<[string, Record<string, unknown> | string, string]>([
  ['a negative size', {...WHISPER, n_fft: -400}, 'n_fft must be a positive integer'],
  ['a billion mels', {...WHISPER, feature_size: 1e9}, 'feature_size must be from 1 to 1024'],
  ['a text for a number', {...WHISPER, hop_length: '160'}, 'hop_length must be a positive integer'],
  ['a rate that no sound has', {...WHISPER, sampling_rate: 1e9}, 'sampling_rate must be from 1000'],
  ['a window of 900 MB', {...WHISPER, chunk_length: 600, sampling_rate: 384_000, hop_length: 8192}, 'samples; at most'],
  ['hours of transforms', {...WHISPER, chunk_length: 300, n_fft: 8192}, 'The settings make 30000 frames of 8192'],
  ['features of 134 MB', {...AST, max_length: 32_768, num_mel_bins: 1024}, 'frames of 1024 values'],
  ['a deviation of zero', {...AST, std: 0}, 'std must be a positive number'],
  ['a mean that is infinite', {...AST, mean: Infinity}, 'mean must be a number'],
  ['a class that is inherited', {feature_extractor_type: 'constructor'}, 'which is not supported'],
  ['brackets, deeply', '['.repeat(1e6), 'nested more deeply'],
])('a preprocessor with %s is refused', async (_, preprocessor, message) => {
  await withoutLeaks(() => expectRefusal(() => encodeSounds(tf.sequential(), clip(0), {preprocessor}), message));
});

const FOLDER = 'test/fixtures/transcripts';
const {clips} = JSON.parse(readFileSync(join(FOLDER, 'expected.json'), 'utf8')) as {clips: number[][][]};
const speech = {
  config: readFileSync(join(FOLDER, 'config.json'), 'utf8'),
  weights: new Uint8Array(readFileSync(join(FOLDER, 'model.safetensors'))),
};

async function transcribed(generation: object, options: TranscribeOptions): Promise<void> {
  const {model} = await loadTransformer({...speech, generation: {...generation}, tokenizer: false});
  const features = tf.tensor3d([clips[0]!]);
  try {
    for await (const piece of transcribe(model, {decode: String}, features, options)) {
      expect(piece.text).not.toBe('');
    }
  } finally {
    features.dispose();
    disposeModel(model);
  }
}

const cyclic: unknown[] = [];
cyclic.push(cyclic);

test.each<[string, Record<string, unknown>, string, TranscribeOptions?]>([
  ['a first token beyond the vocabulary', {decoder_start_token_id: 1e9}, 'decoder_start_token_id must have'],
  ['a negative first token', {decoder_start_token_id: -1}, 'got -1'],
  ['a text for a token', {eos_token_id: '20'}, 'eos_token_id must have whole numbers from 0'],
  ['forced tokens beyond the vocabulary', {forced_decoder_ids: [[1, 2 ** 40]]}, 'forced_decoder_ids must have'],
  ['languages beyond the vocabulary', {lang_to_id: {'<|en|>': 1e9}}, 'lang_to_id must have', {language: 'en'}],
  ['tasks that are lists', {task_to_id: {transcribe: [[3]]}}, 'task_to_id must have'],
  ['timestamps beyond the vocabulary', {no_timestamps_token_id: 1e9}, 'no_timestamps_token_id', {timestamps: true}],
  ['a fraction of a timestamp', {max_initial_timestamp_index: 0.5}, 'max_initial_timestamp_index must have'],
  ['all tokens suppressed', {suppress_tokens: Array.from({length: 1e5}, (_, i) => i)}, 'suppresses every token'],
  ['a list that contains itself', {suppress_tokens: cyclic}, 'config cannot be read'],
])('a generation config with %s is refused', async (_, generation, message, options = {}) => {
  await withoutLeaks(() => expectRefusal(() => transcribed(generation, options), message));
});

test.each<[string, Record<string, unknown>, string]>([
  ['nothing', {}, 'is empty'],
  ['a negative id', {a: -1}, 'got -1 for "a"'],
  ['a text for an id', {a: '1'}, 'must have an id for each token'],
  ['another vocabulary in it', {en: {a: 1}}, 'must have an id for each token'],
])('a vocabulary with %s is refused', async (_, vocabulary, message) => {
  await expectRefusal(() => new CharacterTokenizer(vocabulary), message);
});

test('a vocabulary with ids beyond the head is refused when a transcript has one', async () => {
  await withoutLeaks(async () => {
    const {config, weights} = fixture('wav2vec2CTC');
    const {model, tokenizer} = await loadTransformer({config, weights, vocabulary: {'<pad>': 0, a: 1e9}});
    await expectRefusal(() => encodeTranscripts(model, tokenizer, ['a']), 'the id 1000000000, but the model has');
    disposeModel(model);
  });
});

describe('a vocabulary with many long tokens', () => {
  const callsOf = countingCalls();

  test('is read and used with work that is linear in both', async () => {
    await expectLinear(callsOf, 1e4, size => {
      const vocabulary = Object.fromEntries(Array.from({length: size}, (_, i) => [`${'x'.repeat(i % 300)}${i}`, i]));
      return () => {
        const tokenizer = new CharacterTokenizer(vocabulary);
        expect(tokenizer.encode('x'.repeat(size / 10)).ids).toEqual([]);
      };
    });
  });
});
