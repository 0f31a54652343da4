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

/**
 * Throws all faults as one error, a line each, if there are any.
 *
 * @throws LoRAError
 */
export function throwFaults(faults: readonly string[]): void {
  if (faults.length > 0) {
    throw new LoRAError(faults.join('\n'));
  }
}

/** A shape as error messages show it: `[4, 8]`. */
export function showShape(shape: readonly (number | null)[]): string {
  return `[${shape.map(String).join(', ')}]`;
}

/**
 * Refuses options that do not exist.
 *
 * @param others what was given beside the known ones.
 * @throws LoRAError with a line for each.
 */
export function refuseOthers(others: object, known: readonly string[]): void {
  throwFaults(unknownOptions(others, known));
}

/** A line for each option that does not exist. */
export function unknownOptions(options: object, known: readonly string[]): string[] {
  return Object.keys(options)
    .filter(key => !known.includes(key))
    .map(key => `There is no option "${key}". The options are: ${known.join(', ')}.`);
}

/** The message of what `check` throws, if it throws. */
export function faultsOf(check: () => unknown): string[] {
  try {
    check();
    return [];
  } catch (error) {
    return [(error as Error).message];
  }
}

/** A value as an error message shows it. */
export function show(value: unknown): string {
  if (typeof value === 'number') {
    return String(value); // JSON has no NaN
  }
  try {
    const text = JSON.stringify(value) as string | undefined;
    return text ?? typeof value;
  } catch {
    return typeof value; // a bigint, or something that holds itself or is nested without end
  }
}

/** What kind of value something is, as an error message says it that does not show the value. */
export function kindOf(value: unknown): string {
  return value === null ? 'null' : isPromise(value) ? 'a promise: await it' : typeof value;
}

/** Whether a value is a promise, of another realm or of a library too. */
export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as Partial<PromiseLike<unknown>> | null | undefined)?.then === 'function';
}
