import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {LoRAError} from 'tfjs-lora';
import {augmentSounds, encodeSounds, logMel, type LogMelOptions, resample, specAugment} from 'tfjs-lora/sound';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {clip, noise, wav} from './clips';

beforeAll(() => useBackend('cpu'));

interface Made {
  clip: number;
  shape: number[];
  largest: number;
  step: number;
  values: number[];
}

/** What `make_sounds.py` wrote. */
const fixture = JSON.parse(readFileSync(join(__dirname, '../../fixtures/sounds.json'), 'utf8')) as {
  features: (Made & {config: Record<string, unknown>})[];
  batches: (Omit<Made, 'clip'> & {config: Record<string, unknown>})[];
  mels: (Made & {options: LogMelOptions})[];
  resampled: {clip: number; rates: [number, number]; length: number; step: number; values: number[]}[];
};

/** A model without a preprocessor. */
const model = tf.sequential();

const thinned = (values: readonly number[], step: number) => values.filter((_, i) => i % step === 0);

const ofClass = (name: string) => fixture.features.filter(each => each.config.feature_extractor_type === name);

test.each(['WhisperFeatureExtractor', 'ASTFeatureExtractor', 'Wav2Vec2FeatureExtractor'])(
  'features equal those of the %s of transformers to 1e-5 of the largest',
  async name => {
    const cases = ofClass(name);
    expect(cases.length).toBeGreaterThan(30);
    for (const {clip: number, config, shape, largest, step, values} of cases) {
      const {features} = await encodeSounds(model, clip(number), {preprocessor: config});
      expect(features.shape).toEqual(name === 'Wav2Vec2FeatureExtractor' ? [1, ...shape] : [1, ...shape]);
      expect(thinned(numbers(features), step)).toBeAllClose(values, {rtol: 0, atol: 1e-5 * Math.max(largest, 1e-3)});
    }
  },
);

test('a sound that is not truncated has the features of a longer window', async () => {
  const long = {sampleRate: 16_000, samples: Float32Array.from({length: 48_000}, (_, i) => Math.sin(i * i * 1e-4))};
  const preprocessor = {feature_extractor_type: 'WhisperFeatureExtractor', feature_size: 5, chunk_length: 1};
  const {features} = await encodeSounds(model, [long, clip(0)], {preprocessor, truncate: false});
  const {features: same} = await encodeSounds(model, [long, clip(0)], {
    preprocessor: {...preprocessor, chunk_length: 3},
  });
  expect(features.shape).toEqual([2, 300, 5]);
  expect(numbers(features)).toEqual(numbers(same));
  tf.dispose([features, same]);
  await expect(
    encodeSounds(model, long, {preprocessor: {feature_extractor_type: 'ASTFeatureExtractor'}, truncate: false}),
  ).rejects.toThrow('truncate: false is for a Whisper');
});

test('several sounds are padded and normalized as in transformers, with and without a mask', async () => {
  for (const {config, shape, step, values} of fixture.batches) {
    const encoded = await encodeSounds(model, [0, 1, 7].map(clip), {preprocessor: JSON.stringify(config)});
    expect(encoded.features.shape).toEqual(shape);
    expect(thinned(numbers(encoded.features), step)).toBeAllClose(values, {rtol: 0, atol: 3e-5});
    const lengths = [0, 1, 7].map(number => clip(number).samples.length);
    const sums = encoded.attentionMask && numbers(tf.sum(encoded.attentionMask, 1));
    expect(sums).toEqual(config.return_attention_mask === true ? lengths : undefined);
  }
});

test.each(fixture.mels.map(each => [JSON.stringify(each.options), each] as const))(
  'logMel with %s computes what transformers computes',
  (_, {clip: number, options, shape, largest, step, values}) => {
    const spectrogram = logMel(clip(number), options);
    expect(spectrogram.shape).toEqual(shape);
    expect(thinned(numbers(spectrogram), step)).toBeAllClose(values, {rtol: 0, atol: 1e-5 * largest});
  },
);

test.each(['none', 'reflect'] as const)(
  'NaN spoils the frames that contain it and no other, with padding %s',
  padding => {
    const {samples, sampleRate} = clip(1);
    const options = {windowSize: 400, hopSize: 160, mels: 8, padding};
    const [whole] = logMel({samples, sampleRate}, options).arraySync();
    expect(whole).toHaveLength(8);
    for (const at of [1000, 1200, samples.length - 250]) {
      const broken = samples.slice();
      broken[at] = at === 1200 ? Infinity : NaN;
      const [frames, expected] = [broken, samples].map(each =>
        logMel({samples: each, sampleRate}, options).arraySync(),
      );
      const before = padding === 'none' ? 0 : 200;
      const holds = (frame: number) => {
        const start = frame * 160 - before;
        return Array.from({length: 400}, (_, i) => {
          const place = start + i;
          return place < 0 ? -place : place < samples.length ? place : 2 * (samples.length - 1) - place;
        }).includes(at);
      };
      frames!.forEach((values, frame) => {
        if (holds(frame)) {
          expect(values.every(Number.isNaN)).toBe(true);
        } else {
          expect(values).toBeAllClose(expected![frame]!, {rtol: 1e-6, atol: 0});
        }
      });
      expect(frames!.some((_, frame) => holds(frame))).toBe(true);
    }
  },
);

test.each(fixture.resampled.map(each => [...each.rates, each] as const))(
  'resampling from %i to %i Hz equals scipy.signal.resample_poly',
  (before, after, {clip: number, length, step, values}) => {
    const {samples, sampleRate} = resample({...clip(number), sampleRate: before}, after);
    expect(sampleRate).toBe(after);
    expect(samples.length).toBe(length);
    expect(thinned([...samples], step)).toBeAllClose(values, {rtol: 0, atol: 1e-6});
  },
);

test('files and AudioBuffers give the features of their samples, and nothing is left behind', async () => {
  const preprocessor = {feature_extractor_type: 'Wav2Vec2FeatureExtractor', do_normalize: false};
  const data = new Uint8Array(Int16Array.of(0, 16384, -32768, 8192, 0, 0).buffer);
  const expected = [0, 0.5, -1, 0.25, 0, 0];
  const buffer = {numberOfChannels: 1, sampleRate: 16000, getChannelData: () => Float32Array.from(expected)};
  await withoutLeaks(async () => {
    const bytes = wav({data});
    const {features} = await encodeSounds(model, [bytes, bytes.slice().buffer, new Blob([bytes.slice()]), buffer], {
      preprocessor,
    });
    expect(features.shape).toEqual([4, 6]);
    expect(numbers(features)).toEqual([expected, expected, expected, expected].flat());
    features.dispose();
  });
});

test.each([
  [{feature_extractor_type: 'SeamlessFeatureExtractor'}, /"SeamlessFeatureExtractor", which is not supported/],
  [{feature_extractor_type: 'ASTFeatureExtractor', stride: 2}, /stride is not supported for a ASTFeatureExtractor/],
  [{feature_extractor_type: 'WhisperFeatureExtractor', dither: 0.1}, /dither is 0.1, which is not supported/],
  [{feature_extractor_type: 'WhisperFeatureExtractor', n_fft: 1e9}, /n_fft must be from 2 to 8192/],
  [{feature_extractor_type: 'WhisperFeatureExtractor', padding_side: 'left'}, /padding_side is "left"/],
  [{feature_extractor_type: 'Wav2Vec2FeatureExtractor', sampling_rate: 5}, /sampling_rate must be from 1000/],
])('the preprocessor %j is refused', async (preprocessor, message) => {
  const refused = encodeSounds(model, clip(0), {preprocessor});
  await expect(refused).rejects.toThrow(LoRAError);
  await expect(refused).rejects.toThrow(message);
});

test('the preprocessor that a model has is used, unless another is given', async () => {
  const own = {feature_extractor_type: 'Wav2Vec2FeatureExtractor', do_normalize: false};
  const hub = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [1]})]});
  hub.setUserDefinedMetadata({preprocessor: own});
  const {features} = await encodeSounds(hub, clip(0));
  expect(numbers(features)).toEqual(numbers((await encodeSounds(model, clip(0), {preprocessor: own})).features));
  const other = {feature_extractor_type: 'ASTFeatureExtractor', max_length: 20};
  expect((await encodeSounds(hub, clip(0), {preprocessor: other})).features.shape).toEqual([1, 20, 128]);
});

test('a model without a preprocessor is refused with where to pass it', async () => {
  await expect(encodeSounds(model, clip(0))).rejects.toThrow(
    'The model was loaded without a preprocessor_config.json, which says how to encode sounds. Pass it as ' +
      '{preprocessor}, here or to loadTransformer.',
  );
  await expect(encodeSounds(clip(0) as never, clip(0))).rejects.toThrow(LoRAError);
});

test('what is no sound is refused by its number', async () => {
  const preprocessor = {feature_extractor_type: 'ASTFeatureExtractor'};
  const refusal = (sounds: unknown) => expect(encodeSounds(model, sounds as never, {preprocessor})).rejects;
  await refusal([]).toThrow('got an empty list');
  await refusal([clip(0), 3]).toThrow('Sound 1 must be {samples, sampleRate}, an AudioBuffer, a WAV file as bytes');
  await refusal({samples: [0, 1], sampleRate: 16000}).toThrow('with samples in a Float32Array');
  await refusal({samples: new Float32Array(9), sampleRate: 16000}).toThrow('has 9 samples; a frame needs 400');
  await refusal(Uint8Array.of(1, 2)).toThrow('is not a WAV file. Other files are decoded in browsers only');
});

test('encoding reports its progress and can be aborted', async () => {
  const preprocessor = {feature_extractor_type: 'ASTFeatureExtractor', max_length: 20};
  const aborting = new AbortController();
  const seen: number[] = [];
  const encoding = encodeSounds(model, [0, 1, 2].map(clip), {
    preprocessor,
    signal: aborting.signal,
    onProgress: ({done}) => {
      seen.push(done);
      if (done === 1) {
        aborting.abort();
      }
    },
  });
  await expect(encoding).rejects.toMatchObject({code: 'ERR_ABORTED'});
  expect(seen).toEqual([0, 1]);
});

test.each([
  [{mels: 0}, 'mels must be a whole number, 1 or more, got 0.'],
  [{fftSize: 100}, 'fftSize must be a whole number, 400 or more, got 100.'],
  [{maxFrequency: 9000}, 'maxFrequency must be above minFrequency, and at most half of the sample rate, got 9000.'],
  [{scale: 'bark'}, 'scale must be one of "slaney", "htk", "kaldi", got "bark".'],
  [{frames: 3}, 'There is no option "frames".'],
])('logMel refuses %j', (options, message) => {
  expect(() => logMel(clip(0), options as LogMelOptions)).toThrow(message);
});

beforeAll(() => useBackend('cpu'));

const power = (samples: ArrayLike<number>) => Array.from(samples).reduce((sum, x) => sum + x * x, 0) / samples.length;

test('noise is added at the ratio that is asked for', () => {
  const sound = clip(0);
  const background = {samples: Float32Array.from(noise(7, 5000)), sampleRate: 8000}; // resampled, and repeated
  const augment = augmentSounds({gain: 0, shift: 0, noise: [background], snr: [10, 10], seed: 1});
  const added = augment(sound).samples.map((value, i) => value - sound.samples[i]!);
  expect(10 * Math.log10(power(sound.samples) / power(added))).toBeCloseTo(10, 3);
});

test('gain and shift stay in their range, and the seed gives the same sequence', () => {
  const sound = {samples: Float32Array.from({length: 100}, (_, i) => Number(i === 50)), sampleRate: 1000};
  const options = {gain: 6, shift: 0.02, seed: 5};
  const [one, other] = [augmentSounds(options), augmentSounds(options)];
  const made = Array.from({length: 50}, () => one(sound).samples);
  expect(Array.from({length: 50}, () => other(sound).samples)).toEqual(made);
  const places = made.map(samples => samples.findIndex(value => value !== 0));
  const gains = made.map((samples, i) => 20 * Math.log10(samples[places[i]!]!));
  expect(Math.min(...places)).toBeGreaterThanOrEqual(30);
  expect(Math.max(...places)).toBeLessThanOrEqual(70);
  expect(new Set(places).size).toBeGreaterThan(10);
  expect(Math.max(...gains.map(Math.abs))).toBeLessThanOrEqual(6);
  expect(Math.max(...gains)).toBeGreaterThan(3);
});

test('silence and no noise stay as they are', () => {
  const silence = {samples: new Float32Array(50), sampleRate: 1000};
  expect(augmentSounds({noise: [silence]})(silence).samples).toEqual(silence.samples);
  const sound = clip(1);
  expect(augmentSounds({gain: 0, shift: 0})(sound).samples).toEqual(sound.samples);
});

test('specAugment masks spans of frames and bands of filters of each example with its mean', async () => {
  await withoutLeaks(() =>
    tf.tidy(() => {
      const spectrograms = tf.add(tf.range(0, 2 * 30 * 16).reshape([2, 30, 16]), 1000);
      const options = {timeMasks: 1, maxFrames: 9, frequencyMasks: 1, maxMels: 5, seed: 2};
      const masked = specAugment(options)(spectrograms);
      expect(numbers(specAugment(options)(spectrograms))).toEqual(numbers(masked));
      const isSame = numbers(tf.lessEqual(tf.abs(tf.sub(masked, spectrograms)), 1e-3));
      for (const example of [0, 1]) {
        const at = (frame: number, mel: number) => isSame[(example * 30 + frame) * 16 + mel] === 1;
        const frames = Array.from({length: 30}, (_, t) => Array.from({length: 16}, (__, m) => m).some(m => at(t, m)));
        const bands = Array.from({length: 16}, (_, m) => Array.from({length: 30}, (__, t) => t).some(t => at(t, m)));
        for (let i = 0; i < 30 * 16; i++) {
          const [t, m] = [Math.floor(i / 16), i % 16];
          expect(at(t, m)).toBe(frames[t]! && bands[m]!);
        }
        expect(frames.filter(kept => !kept).length).toBeLessThanOrEqual(9);
        expect(bands.filter(kept => !kept).length).toBeLessThanOrEqual(5);
      }
      const mean = numbers(tf.mean(spectrograms, [1, 2]));
      const values = new Set(numbers(masked).map(Math.round));
      expect(mean.some(each => values.has(Math.round(each)))).toBe(true);
    }),
  );
});

test.each([
  [() => augmentSounds({gain: -1}), 'gain must be a number of dB, 0 or more, got -1.'],
  [() => augmentSounds({snr: [9, 1]}), 'snr must be the lowest and the highest ratio in dB, got [9,1].'],
  [() => augmentSounds({noise: [1] as never}), 'noise 0 must be {samples, sampleRate} with samples in a Float32Array'],
  [() => augmentSounds({seed: 0.5}), 'seed must be a whole number, got 0.5.'],
  [() => specAugment({maxFrames: -1}), 'maxFrames must be a whole number, 0 or more, got -1.'],
  [() => specAugment()(tf.zeros([2, 3])), 'Spectrograms must be [batch, frames, mels], got [2, 3].'],
])('bad options are refused', (call, message) => {
  expect(call).toThrow(message);
});
