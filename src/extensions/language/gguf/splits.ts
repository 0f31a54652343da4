import {brief, listed, unsupportedError} from '../../../platform/errors';

// How texts are split before bytes are merged, by `tokenizer.ggml.pre`. The expressions are those of transformers and
// llama.cpp.

const GPT_2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const LLAMA_3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" +
  '| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const QWEN_2 = LLAMA_3.replace('{1,3}', '');
const WORDS = [
  '[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+',
  '[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*',
];
const REST = ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const ENDS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?";
const TEKKEN = [...WORDS, '\\p{N}', REST].join('|');
const GPT_4O = [...WORDS.map(word => word + ENDS), '\\p{N}{1,3}', REST].join('|');

/** Kinds whose texts start with a token by default, and whose whole tokens need no merges. */
const WHOLE = ['llama3', 'llama-v3', 'llama-bpe', 'falcon3', 'pixtral', 'lfm2', 'tekken'];
export const STARTS_TEXTS: ReadonlySet<unknown> = new Set(WHOLE);

/** Kinds of tokenizers, and their splitting expressions. */
const KINDS: readonly (readonly [kinds: readonly string[], splits: readonly string[]])[] = [
  [['default', 'gpt-2', 'phi-2'], [GPT_2]],
  // Each digit is a separate token, in any script.
  [
    ['smollm', 'starcoder', 'refact', 'command-r', 'codeshell'],
    ['\\p{N}', GPT_2],
  ],
  [['tekken'], [TEKKEN]],
  [[...WHOLE, 'dbrx', 'smaug-bpe'], [LLAMA_3]],
  [['qwen2', 'deepseek-r1-qwen', 'megrez'], [QWEN_2]],
  [['gpt-4o', 'llama4'], [GPT_4O]],
];

/**
 * Returns the expressions that split texts, in the order in which they apply.
 *
 * @throws LoRAError if the kind is not supported.
 */
export function splitsOf(pre: unknown): string[] {
  const [, splits] = KINDS.find(([kinds]) => kinds.includes(pre as string)) ?? [];
  if (splits === undefined) {
    throw unsupportedError(
      `tokenizer.ggml.pre of the GGUF file is ${brief(pre)}, which is not supported. Supported: ` +
        `${listed([...new Set(KINDS.flatMap(([kinds]) => kinds))])}.`,
    );
  }
  // In JavaScript U+FEFF is white space, and U+0085 is not.
  return splits.map(split => split.replaceAll('\\s', '\\p{White_Space}').replaceAll('\\S', '\\P{White_Space}'));
}
