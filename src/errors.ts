/**
 * The one class of error that this library throws on purpose. The message says what was expected, what came, and the way out; a
 * line each where several things are wrong at once.
 */
export class LoRAError extends Error {
  override readonly name = 'LoRAError';
}
