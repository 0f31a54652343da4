import './quantized';
import './extensions/transformers/register';

// Importing this entry point registers the layers of transformers and of quantized weights.

export {type ChatBatches, encodeChats, type EncodeChatsOptions} from './extensions/language/encodeChats';
export {exportGGUF, type ExportGGUFOptions} from './extensions/language/exportGGUF';
export {generate, type GenerateOptions, generateTexts, type Prompt} from './extensions/language/generate';
export {type Chat, type ChatOptions, openChat} from './extensions/language/openChat';
export {type LoadedGGUF, type LoadedModel, loadGGUF, type LoadGGUFOptions} from './extensions/language/loadGGUF';
export type {WeightSource} from './extensions/quantized/streamed/openStreamed';
export type {RandomAccess} from './core/storage/localFiles';
export type {RandomAccessSource, SyncAccessFile, SyncAccessHandle} from './core/storage/randomAccess';
export type {TokenizerFiles} from './extensions/language/gguf/tokenizerFiles';
export {compilePreferences, type CompilePreferencesOptions} from './extensions/language/preferences/compilePreferences';
export {
  encodePreferences,
  type EncodePreferencesOptions,
  type PreferenceBatches,
} from './extensions/language/preferences/encodePreferences';
export type {
  PreferenceMethodOptions,
  PreferenceMetric,
  PairMethodName,
  PreferenceMethod,
} from './extensions/language/preferences/methods';
export type {
  RewardFunction,
  RewardLoss,
  RewardOptions,
  RewardRun,
  RewardPrompt,
  RewardStep,
  SampledAnswer,
} from './extensions/language/rewards/rewardOptions';
export {trainOnRewards} from './extensions/language/rewards/trainOnRewards';
export {type ChatRecord, parseChats} from './extensions/records/chatRecords';
export type {ChatMessage} from './extensions/records/messages';
export {parsePreferences, type PreferenceRecord, type TextOrMessages} from './extensions/records/preferenceRecords';
export {measurePerplexity, type PerplexityOptions} from './extensions/language/measurePerplexity';
export {addTokens, type AddedTokens, type AddTokensOptions} from './extensions/transformers/load/addTokens';
export {trainableTokens, type TrainableTokensOptions} from './extensions/transformers/load/trainableTokens';
export type {Tokenizer} from './extensions/transformers/load/tokenizer';
export type {ChatTemplate, PeerClasses, TemplateClass, TokenizerClass} from './extensions/transformers/load/peers';
