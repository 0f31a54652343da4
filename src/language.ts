import './quantized';
import './transformers';

// The door to language models: importing it is what registers their layers, those in blocks too.

export type {Message, TemplateClass} from './extensions/language/chat';
export {type ChatRecord, readChats} from './extensions/language/chatRecords';
export {ChatBatches, encodeChats, type EncodeChatsOptions} from './extensions/language/encodeChats';
export {exportGGUF} from './extensions/language/exportGGUF';
export {generate, type GenerateOptions, generateTexts, type Prompt} from './extensions/language/generate';
export type {LanguageTokenizer} from './extensions/language/languageTokenizer';
export {type LoadedGGUF, loadGGUF, type LoadGGUFOptions, type TokenizerClass} from './extensions/language/loadGGUF';
export type {TokenizerFiles} from './extensions/language/gguf/tokenizerFiles';
export {perplexity, type PerplexityOptions} from './extensions/language/perplexity';
export type {Decoder} from './extensions/language/textPieces';
