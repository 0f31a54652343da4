/**
 * Tokens that end an answer or a text, recognized by their text, since files name one or two of them at most. From
 * llama.cpp (`special_eog_ids`), including the tokens after which code models begin another file.
 */
const END_TEXTS: ReadonlySet<string> = new Set([
  ...['<|eot_id|>', '<|im_end|>', '<|end|>', '<|return|>', '<|call|>', '<|flush|>', '<|calls|>', '<end_of_turn>'],
  ...['<|endoftext|>', '</s>', '<|eom_id|>', '<EOT>', '_<EOT>', '[EOT]', '[EOS]', '<|end_of_text|>', '<eos>'],
  ...['<end_of_utterance>', '<turn|>', '<|tool_response>', '<｜end▁of▁sentence｜>', '[e~['],
  ...['<|fim_pad|>', '<fim-pad>', '<fim_pad>', '<PAD>', '[PAD]', '<|file_sep|>'],
  ...['<|fim_repo|>', '<|repo_name|>', '<fim-repo>', '<REPO>', '<reponame>'],
]);

/** Whether a token ends generated text. */
export function isEnd(token: unknown): boolean {
  return typeof token === 'string' && END_TEXTS.has(token);
}
