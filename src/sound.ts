// The entry point for sounds: files and features.

export {type EncodedSounds, encodeSounds, type EncodeSoundsOptions} from './extensions/sound/encodeSounds';
export {logMel, type LogMelOptions} from './extensions/sound/logMel';
export type {MelScale} from './extensions/sound/melFilters';
export {readSound} from './extensions/sound/readSound';
export {readWav, type WavSound} from './extensions/sound/readWav';
export {resample} from './extensions/sound/resample';
export type {Sound, SoundChannels, SoundInput} from './extensions/sound/sound';
export type {CallOptions, OnProgress, Progress} from './platform/signals';
