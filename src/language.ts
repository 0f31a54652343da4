import './quantized';
import './transformers';

// The door to language models: importing it is what registers their layers, those in blocks too.

export {type LoadedGGUF, loadGGUF, type LoadGGUFOptions, type TokenizerClass} from './language/loadGGUF';
export type {TokenizerFiles} from './language/gguf/tokenizerFiles';
