import {LoRAError} from '../../../platform/errors';

interface NewHead {
  architecture?: string | undefined;
  labels?: number | readonly string[] | undefined;
}

/** The settings of a new head for the characters in `labels`, if it is one for CTC. */
export function newCharactersOf({architecture, labels}: NewHead) {
  if (labels === undefined || architecture?.endsWith('ForCTC') !== true) {
    return undefined;
  }
  if (!Array.isArray(labels)) {
    return {config: {vocab_size: labels}};
  }
  const names: readonly unknown[] = labels;
  const named = (...spellings: string[]) => spellings.find(name => names.includes(name));
  const padding = named('<pad>', '[PAD]');
  if (padding === undefined) {
    throw new LoRAError("labels must include '<pad>' or '[PAD]', the blank of CTC.");
  }
  return {
    config: {vocab_size: names.length, pad_token_id: names.indexOf(padding)},
    vocabulary: Object.fromEntries(names.map((name, i) => [String(name), i])),
    tokenizerConfig: {pad_token: padding, unk_token: named('<unk>', '[UNK]'), word_delimiter_token: named('|') ?? ' '},
  };
}
