/**
 * Tokens that end an answer or a text, by what they say: files name one or two of them at most. llama.cpp has this list
 * (its `special_eog_ids`), with the tokens behind which another file of code begins.
 */
const END_TEXTS: ReadonlySet<string> = new Set([
  ...['<|eot_id|>', '<|im_end|>', '<|end|>', '<|return|>', '<|call|>', '<|flush|>', '<|calls|>', '<end_of_turn>'],
  ...['<|endoftext|>', '</s>', '<|eom_id|>', '<EOT>', '_<EOT>', '[EOT]', '[EOS]', '<|end_of_text|>', '<eos>'],
  ...['<end_of_utterance>', '<turn|>', '<|tool_response>', '<｜end▁of▁sentence｜>', '[e~['],
  ...['<|fim_pad|>', '<fim-pad>', '<fim_pad>', '<PAD>', '[PAD]', '<|file_sep|>'],
  ...['<|fim_repo|>', '<|repo_name|>', '<fim-repo>', '<REPO>', '<reponame>'],
]);

/** Whether a token ends what a model writes. */
export function isEnd(token: unknown): boolean {
  return typeof token === 'string' && END_TEXTS.has(token);
}
