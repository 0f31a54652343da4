import './quantized';
import './transformers';

// The door to language models: importing it is what registers their layers, those in blocks too.

export type {Message, TemplateClass} from './language/chat';
export {type ChatRecord, readChats} from './language/chatRecords';
export {ChatBatches, encodeChats, type EncodeChatsOptions} from './language/encodeChats';
export {exportGGUF} from './language/exportGGUF';
export {generate, type GenerateOptions, generateTexts, type Prompt} from './language/generate';
export type {LanguageTokenizer} from './language/languageTokenizer';
export {type LoadedGGUF, loadGGUF, type LoadGGUFOptions, type TokenizerClass} from './language/loadGGUF';
export type {TokenizerFiles} from './language/gguf/tokenizerFiles';
export {perplexity, type PerplexityOptions} from './language/perplexity';
export type {Decoder} from './language/textPieces';
