import './extensions/sound/addCTC';

// The entry point for audio: files, features, losses and metrics.

export {
  augmentSounds,
  type AugmentSoundsOptions,
  specAugment,
  type SpecAugmentOptions,
} from './extensions/sound/augmentSounds';
export {centerSound} from './extensions/sound/centerSound';
export {ctcLoss, type CTCLossOptions} from './extensions/sound/ctcLoss';
export {type EncodedSounds, encodeSounds, type EncodeSoundsOptions} from './extensions/sound/encodeSounds';
export {
  type EncodedTranscripts,
  encodeTranscripts,
  type EncodeTranscriptsOptions,
} from './extensions/sound/encodeTranscripts';
export {characterErrorRate, wordErrorRate} from './extensions/sound/errorRates';
export {
  type DetectOptions,
  type EventScores,
  makeDetector,
  scoreEvents,
  type SoundEvent,
  type WindowScores,
} from './extensions/sound/events';
export {loadTransformer} from './extensions/sound/loadTransformer';
export {logMel, type LogMelOptions} from './extensions/sound/logMel';
export type {MelScale} from './extensions/sound/melFilters';
export {readSound} from './extensions/sound/readSound';
export {readWav, type WavSound} from './extensions/sound/readWav';
export {type RecordedWindow, Recorder, type RecorderOptions, type WindowOptions} from './extensions/sound/recorder';
export {resample} from './extensions/sound/resample';
export {slidingWindows, type SlidingWindow} from './extensions/sound/slidingWindows';
export type {Sound, SoundChannels, SoundInput} from './extensions/sound/sound';
export {transcribe, type TranscribeOptions, type TranscriptPiece} from './extensions/sound/transcribe';
export type {Tokenizer} from './extensions/transformers/load/tokenizer';
export type {CallOptions, OnProgress, CallProgress} from './platform/signals';
