import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {readWav} from '../../../src/sound';
import {wav} from '../../extensions/sound/clips';
import {wordTokenizer} from '../../extensions/transformers/fixtures';

/** Of a Whisper that hears 10 frames of 3 bins. */
const preprocessor = {
  feature_extractor_type: 'WhisperFeatureExtractor',
  ...{feature_size: 3, chunk_length: 1, hop_length: 1600, n_fft: 400},
};

/** A WAV file of seconds of the recordings of the sounds example, each by its class and number, from 0. */
function recorded(...seconds: readonly [name: string, i: number][]): Uint8Array {
  const values = seconds.flatMap(([name, i]) => {
    const {samples} = readWav(readFileSync(join('examples/sounds/public/clips', `${name}.wav`)));
    return [...samples.subarray(16_000 * i, 16_000 * (i + 1))];
  });
  const data = new Uint8Array(Int16Array.from(values, value => 32_767 * Math.max(-1, Math.min(1, value))).buffer);
  return wav({data}).slice();
}

export function files() {
  const path = (name: string) => join('test/fixtures/transcripts', name);
  const read = (name: string) => readFileSync(path(name), 'utf8');
  const {cases} = JSON.parse(read('expected.json')) as {cases: {generation: object}[]};
  const said = ['she', 'takes', 'brimalto', 'no', 'ventorin', 'today'];
  const words = Array.from({length: 40}, (_, i) => said[i - 1] ?? `word${i}`);
  const clips = ['computer', 'banana', 'background'].flatMap(name =>
    Array.from({length: 10}, (_, i) => [`recordings/${name}-${i + 1}.wav`, recorded([name, i])] as const),
  );
  return Promise.resolve({
    'whisper-tiny.en/preprocessor_config.json': JSON.stringify(preprocessor),
    'whisper-tiny.en/config.json': read('config.json'),
    'whisper-tiny.en/model.safetensors': new Uint8Array(readFileSync(path('model.safetensors'))),
    'whisper-tiny.en/generation_config.json': JSON.stringify(cases[2]!.generation),
    'whisper-tiny.en/tokenizer.json': JSON.stringify(wordTokenizer(words)),
    'whisper-tiny.en/tokenizer_config.json': JSON.stringify({tokenizer_class: 'PreTrainedTokenizer'}),
    'clinic1.wav': wav({data: new Uint8Array(4000)}),
    'clinic2.wav': wav({data: new Uint8Array(6000)}),
    'recordings/kitchen.wav': recorded(
      ...(
        [
          ['background', 7],
          ['computer', 8],
          ['background', 8],
          ['banana', 9],
          ['background', 9],
        ] as const
      ).map(([name, i]): [string, number] => [name, i]),
    ),
    ...Object.fromEntries(clips),
  });
}
