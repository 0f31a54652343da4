// The entry point for records of examples: JSON lines as `tfjs-lora/language` encodes them. It registers nothing.

export {type ChatRecord, parseChats} from './extensions/records/chatRecords';
export type {ChatMessage} from './extensions/records/messages';
export {parsePreferences, type PreferenceRecord, type TextOrMessages} from './extensions/records/preferenceRecords';
