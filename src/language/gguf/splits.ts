import {brief, listed, LoRAError} from '../../errors';

// How texts are cut before bytes are joined, by `tokenizer.ggml.pre`. The expressions are those of transformers and of
// llama.cpp.

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

const SPLITS: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    ['llama3', 'llama-v3', 'llama-bpe', 'falcon3', 'pixtral', 'lfm2', 'dbrx', 'smaug-bpe'].map(pre => [pre, LLAMA_3]),
  ),
  ...{tekken: TEKKEN, qwen2: QWEN_2, 'deepseek-r1-qwen': QWEN_2, megrez: QWEN_2, 'gpt-4o': GPT_4O, llama4: GPT_4O},
};

const WITH_DIGITS = ['smollm', 'starcoder', 'refact', 'command-r', 'codeshell'];
/** Those that are cut as GPT-2 cuts, with each digit by itself before. */
export const DIGITS_APART: ReadonlySet<unknown> = new Set(WITH_DIGITS);
/** Those that are cut as GPT-2 cuts. */
const PLAIN: readonly string[] = ['default', 'gpt-2', 'phi-2'];
/** Those whose texts start with a token where the file does not say it, and whose whole tokens need no merges. */
export const STARTS_TEXTS: ReadonlySet<unknown> = new Set(['llama3', 'llama-v3', 'llama-bpe']);

/**
 * The expression by which texts are cut; `undefined` for that of GPT-2.
 *
 * @throws LoRAError if there is no code for that kind.
 */
export function splitOf(pre: unknown): string | undefined {
  const split = typeof pre === 'string' && Object.hasOwn(SPLITS, pre) ? SPLITS[pre] : undefined;
  if (split === undefined && !(typeof pre === 'string' && (PLAIN.includes(pre) || WITH_DIGITS.includes(pre)))) {
    const known = [...PLAIN, ...WITH_DIGITS, ...Object.keys(SPLITS)];
    throw new LoRAError(
      `tokenizer.ggml.pre of the GGUF file is ${brief(pre)}, for which there is no code here; known are ` +
        `${listed(known)}.`,
    );
  }
  return split;
}
