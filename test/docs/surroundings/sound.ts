import * as tf from '@tensorflow/tfjs';
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {clip, wav} from '../../extensions/sound/clips';
import {wordTokenizer} from '../../extensions/transformers/fixtures';

export const model = tf.sequential({layers: [tf.layers.reshape({targetShape: [-1], inputShape: [10, 128]})]});
model.setUserDefinedMetadata({preprocessor: {feature_extractor_type: 'ASTFeatureExtractor', max_length: 10}});

/** Of a Whisper that hears 10 frames of 3 bins. */
const preprocessor = {
  feature_extractor_type: 'WhisperFeatureExtractor',
  ...{feature_size: 3, chunk_length: 1, hop_length: 1600, n_fft: 400},
};

export const file = new Blob([wav({data: new Uint8Array(4000)}).slice()]);
export const recordings = [file, clip(0)];
export const clips = [clip(1), clip(2)];
export const room = clip(3);
export const spectrograms = tf.zeros([2, 30, 40]);
export const logits = tf.zeros([2, 8, 5]);
export const windows = [{time: 0, scores: {yes: 0.9, background: 0.1}}];
export const known = [{time: 0.2, label: 'yes'}];
export const url = 'https://example.com/whisper';
export const show: (text: string) => void = () => undefined;

export function files() {
  const path = (name: string) => join('test/fixtures/transcripts', name);
  const read = (name: string) => readFileSync(path(name), 'utf8');
  const {cases} = JSON.parse(read('expected.json')) as {cases: {generation: object}[]};
  const words = Array.from({length: 40}, (_, i) => `word${i}`);
  return Promise.resolve({
    [`${url}/preprocessor_config.json`]: JSON.stringify(preprocessor),
    [`${url}/config.json`]: read('config.json'),
    [`${url}/model.safetensors`]: new Uint8Array(readFileSync(path('model.safetensors'))),
    [`${url}/generation_config.json`]: JSON.stringify(cases[2]!.generation),
    [`${url}/tokenizer.json`]: JSON.stringify(wordTokenizer(words)),
    [`${url}/tokenizer_config.json`]: JSON.stringify({tokenizer_class: 'PreTrainedTokenizer'}),
  });
}
