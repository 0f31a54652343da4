import type {LoadedTransformer} from '../transformers/load/loadedTransformer';
import type {TransformerOptions, TransformerSources} from '../transformers/load/loadTransformer';
import type {Tokenizer} from '../transformers/load/tokenizer';

/**
 * Loads a model of sounds: `loadTransformer` of `tfjs-lora/transformers`, whose code is loaded when this is called, so
 * that pages without such a model do without it.
 *
 * @param given the folder of the model, or the address of its `config.json`: a URL, in Node a path too; or its files.
 * @param options the head, the tokenizer, and progress.
 * @returns the model, its tokenizer and its config.
 * @throws LoRAError as there: `ERR_UNSUPPORTED`, `ERR_MISFIT`, `ERR_DAMAGED`, `ERR_NOT_FOUND`, `ERR_TOO_LARGE`,
 *   `ERR_ABORTED`.
 * @example
 *     const {model, tokenizer} = await loadTransformer('models/whisper-tiny');
 * @experimental
 */
export async function loadTransformer(
  given: URL | string,
  options: TransformerOptions<unknown> & {tokenizer: false},
): Promise<Pick<LoadedTransformer, 'model' | 'config'>>;
export async function loadTransformer(
  given: TransformerSources<unknown> & {tokenizer: false},
): Promise<Pick<LoadedTransformer, 'model' | 'config'>>;
export async function loadTransformer<T = Tokenizer>(
  given: TransformerSources<T> | URL | string,
  options?: TransformerOptions<T>,
): Promise<LoadedTransformer<T>>;
export async function loadTransformer<T = Tokenizer>(
  given: TransformerSources<T> | URL | string,
  options: TransformerOptions<T> = {},
): Promise<LoadedTransformer<T>> {
  await import('../transformers/register');
  return (await import('../transformers/load/loadTransformer')).loadTransformer(given, options);
}
