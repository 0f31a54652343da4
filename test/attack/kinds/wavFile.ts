import * as tf from '@tensorflow/tfjs';
import {encodeSounds, readWav} from 'tfjs-lora/sound';
import {clip, wav} from '../../extensions/sound/clips';
import {type AttackKind, type Json, mustHold} from '../kind';

const data = new Uint8Array(240).map((_, i) => (i * 37) % 256);

/** WAV files of every width of samples. */
export const wavFile: AttackKind = {
  name: 'a WAV file',
  prepare: () => ({
    whole: [
      {bits: 8},
      {bits: 16, channels: 2},
      {bits: 24, channels: 3, extensible: true},
      {bits: 32, sampleRate: 48000},
      {bits: 32, format: 3},
      {bits: 64, format: 3, extensible: true},
    ].map(options => ({file: wav({...options, data})})),
    models: [],
    use({file}) {
      const bytes = file as Uint8Array;
      const {samples, channels} = readWav(bytes);
      mustHold(channels.length * samples.length <= bytes.length, 'There are more samples than bytes.');
      return Promise.resolve();
    },
  }),
};

const CONFIGS: readonly Record<string, Json>[] = [
  {feature_extractor_type: 'WhisperFeatureExtractor', chunk_length: 1, n_fft: 400, hop_length: 160, feature_size: 80},
  {feature_extractor_type: 'ASTFeatureExtractor', max_length: 20, num_mel_bins: 16, mean: -4, std: 4.5},
  {feature_extractor_type: 'Wav2Vec2FeatureExtractor', do_normalize: true, return_attention_mask: true},
];

/** Preprocessors of models for sounds. */
export const soundPreprocessor: AttackKind = {
  name: 'the preprocessor of a model for sounds',
  prepare: () => ({
    whole: CONFIGS.map(config => ({
      config: {...config, sampling_rate: 16000, padding_side: 'right', padding_value: 0},
    })),
    models: [],
    async use({config}) {
      const {features, attentionMask} = await encodeSounds(tf.sequential(), clip(0), {
        preprocessor: JSON.stringify(config),
      });
      features.dispose();
      attentionMask?.dispose();
    },
  }),
};
