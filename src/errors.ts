/**
 * The one class of error that this library throws on purpose. The message says what was expected, what came, and the way out; a
 * line each where several things are wrong at once.
 */
export class LoRAError extends Error {
  override readonly name = 'LoRAError';
}

/** An error as one of this library: itself if it is one, else one that says what could not be done, and has it for its cause. */
export function asLoRAError(error: unknown, what: string): LoRAError {
  return error instanceof LoRAError ? error : new LoRAError(`${what}: ${(error as Error).message}`, {cause: error});
}
