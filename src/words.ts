// The entry point for spoken words: a small pretrained network, and its features.

export {encodeWords, wordFrames} from './extensions/words/encodeWords';
export {loadWordBase, type WordBase} from './extensions/words/wordBase';
export type {Sound} from './extensions/sound/sound';
