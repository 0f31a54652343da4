import {show, unsupportedError} from '../../platform/errors';
import {HubConfig} from '../transformers/net/hubConfig';
import {melFilters} from './melFilters';
import {type Frames, hann} from './melFrames';

/** How sounds are prepared for a model. */
export type Preprocessing = Whisper | AST | Raw;

/** Log-mel spectrograms of a fixed length. */
interface Whisper {
  kind: 'whisper';
  sampleRate: number;
  frames: Frames;
  /** Samples to which sounds are cut or padded, and the value of the padding. */
  length: number;
  padding: number;
}

/** Filter banks of Kaldi, cut or padded to a number of frames. */
interface AST {
  kind: 'ast';
  sampleRate: number;
  frames: Frames;
  length: number;
  /** Subtracted from, and divided by, all values. */
  mean: number;
  deviation: number;
}

/** Samples, padded to the longest sound. */
interface Raw {
  kind: 'raw';
  sampleRate: number;
  normalizes: boolean;
  /** Whether the model takes a mask. If not, the padding counts for mean and variance too, as in transformers. */
  hasMask: boolean;
  padding: number;
}

/** Keys that change nothing: names of classes, and what is computed from other keys. */
const HARMLESS = ['processor_class', 'tokenizer_class', 'mel_filters', 'n_samples', 'nb_max_frames'];

/** Limits of sizes in a file. */
const MAX_FFT_SIZE = 2 ** 13;
const MAX_MELS = 1024;
const MAX_RATE = 384_000;
const MAX_SECONDS = 600;
const MAX_FRAMES = 2 ** 15;
const MAX_SAMPLES = 2 ** 24;
/** Of all frames, in a Fourier transform or in mel filters. */
const MAX_VALUES = 2 ** 23;

/** A row for each class of transformers. */
const EXTRACTORS: Readonly<Record<string, (config: HubConfig) => Preprocessing>> = {
  WhisperFeatureExtractor: whisperOf,
  ASTFeatureExtractor: astOf,
  Wav2Vec2FeatureExtractor: rawOf,
};

const KEYS = ['feature_extractor_type', 'feature_size', 'sampling_rate', 'padding_value', 'padding_side'];

/** The keys of each class besides those of all. */
const OWN_KEYS: Readonly<Record<string, readonly string[]>> = {
  // `do_normalize` is an argument of Whisper's call: in a file it has no effect.
  WhisperFeatureExtractor: ['chunk_length', 'hop_length', 'n_fft', 'dither', 'return_attention_mask', 'do_normalize'],
  ASTFeatureExtractor: ['num_mel_bins', 'max_length', 'do_normalize', 'mean', 'std', 'return_attention_mask'],
  Wav2Vec2FeatureExtractor: ['do_normalize', 'return_attention_mask'],
};

/**
 * Reads a `preprocessor_config.json` of a model for sounds.
 *
 * @throws LoRAError with a line for each fault and each key that is not supported.
 */
export function readSoundPreprocessor(source: string | object): Preprocessing {
  const config = HubConfig.parse(source, 'preprocessor');
  const type = config.get('feature_extractor_type');
  const read = typeof type === 'string' && Object.hasOwn(EXTRACTORS, type) ? EXTRACTORS[type] : undefined;
  if (read === undefined) {
    throw unsupportedError(
      `The preprocessor has feature_extractor_type ${show(type)}, which is not supported. Supported: ` +
        `${Object.keys(EXTRACTORS).join(', ')}.`,
    );
  }
  const knownKeys = [...KEYS, ...HARMLESS, ...(OWN_KEYS[type as string] as readonly string[])];
  Object.keys(config.asObject())
    .filter(key => !knownKeys.includes(key))
    .forEach(key => config.fault(`${key} is not supported for a ${String(type)}.`));
  config.expect('padding_side', 'right');
  const preprocessing = read(config);
  config.check();
  return preprocessing;
}

function whisperOf(config: HubConfig): Whisper {
  config.expect('dither', 0);
  config.flag('return_attention_mask', false); // Whisper attends to its padding
  const sampleRate = rateOf(config);
  const fftSize = limited(config, 'n_fft', 400, MAX_FFT_SIZE, 2);
  const hop = limited(config, 'hop_length', 160, MAX_FFT_SIZE);
  const length = limited(config, 'chunk_length', 30, MAX_SECONDS) * sampleRate;
  const mels = limited(config, 'feature_size', 80, MAX_MELS);
  if (length > MAX_SAMPLES) {
    config.fault(`chunk_length and sampling_rate make ${length} samples; at most ${MAX_SAMPLES} fit.`);
  }
  checkFrames(config, Math.floor(length / hop), Math.max(fftSize, mels));
  const bank = {sampleRate, fftSize, mels, minFrequency: 0, maxFrequency: 8000, normalized: true};
  return {
    kind: 'whisper',
    sampleRate,
    length,
    padding: valueOf(config, 'padding_value', 0),
    frames: {
      window: hann(fftSize, true),
      hop,
      fftSize,
      padding: 'reflect',
      power: 2,
      filters: melFilters({...bank, scale: 'slaney'}),
    },
  };
}

function astOf(config: HubConfig): AST {
  config.expect('feature_size', 1);
  config.expect('return_attention_mask', false);
  const sampleRate = rateOf(config);
  const mels = limited(config, 'num_mel_bins', 128, MAX_MELS);
  const length = limited(config, 'max_length', 1024, MAX_FRAMES);
  checkFrames(config, length, Math.max(512, mels));
  const [minFrequency, maxFrequency] = [20, Math.floor(sampleRate / 2)];
  const bank = {sampleRate, fftSize: 512, mels, minFrequency, maxFrequency, normalized: false};
  const normalizes = config.flag('do_normalize', true);
  const [mean, deviation] = [valueOf(config, 'mean', -4.2677393), config.number('std', 4.5689974)];
  return {
    kind: 'ast',
    sampleRate,
    length,
    mean: normalizes ? mean : 0,
    deviation: normalizes ? 2 * deviation : 1,
    frames: {
      window: hann(400, false),
      hop: 160,
      fftSize: 512,
      padding: 'none',
      power: 2,
      preemphasis: 0.97,
      filters: melFilters({...bank, scale: 'kaldi'}),
    },
  };
}

function rawOf(config: HubConfig): Raw {
  config.expect('feature_size', 1);
  return {
    kind: 'raw',
    sampleRate: rateOf(config),
    normalizes: config.flag('do_normalize', true),
    hasMask: config.flag('return_attention_mask', false),
    padding: valueOf(config, 'padding_value', 0),
  };
}

/** Limits what a file can have computed, and how large features it can ask for. */
function checkFrames(config: HubConfig, frames: number, values: number): void {
  if (frames > MAX_FRAMES || frames * values > MAX_VALUES) {
    config.fault(
      `The settings make ${frames} frames of ${values} values; at most ${MAX_FRAMES} frames with ${MAX_VALUES} ` +
        'values together fit.',
    );
  }
}

function rateOf(config: HubConfig): number {
  return limited(config, 'sampling_rate', 16_000, MAX_RATE, 1000);
}

function limited(config: HubConfig, name: string, otherwise: number, most: number, least = 1): number {
  const value = config.count(name, otherwise);
  if (value < least || value > most) {
    config.fault(`${name} must be from ${least} to ${most}, got ${value}.`);
    return otherwise;
  }
  return value;
}

function valueOf(config: HubConfig, name: string, otherwise: number): number {
  const value = config.get(name) ?? otherwise;
  if (!Number.isFinite(value)) {
    config.fault(`${name} must be a number, got ${show(value)}.`);
    return otherwise;
  }
  return value as number;
}
