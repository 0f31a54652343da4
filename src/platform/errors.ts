/** The maximum length of a message, which limits how much of an untrusted file reaches a log. */
const MAX_CHARACTERS = 4000;
const MAX_LINE_LENGTH = 1000;

/**
 * What kind of error a {@link LoRAError} is, for programs. `docs/troubleshooting.md` has a section on each.
 *
 * - `ERR_OPTION`: an argument or option is not valid
 * - `ERR_MISFIT`: valid by itself, but not for this model, adapter, or file: shapes, names, kinds of layers
 * - `ERR_NOT_READY`: the model is not built or not compiled yet, or an image or the kernels have not loaded
 * - `ERR_NOT_ADAPTED`: the model has no adapter, or has one already
 * - `ERR_NOT_FOUND`: there is nothing at a place: a file, folder, URL, or entry of a storage
 * - `ERR_DAMAGED`: a file or message is incomplete, inconsistent, or not in the format that is expected
 * - `ERR_UNSUPPORTED`: intact and understood, but the library, the backend, or the file format cannot do it
 * - `ERR_TOO_LARGE`: a size is over a limit
 * - `ERR_MEMORY`: memory could not be allocated
 * - `ERR_NUMERIC`: a value is NaN or infinite, or too large for the type of number
 * - `ERR_BUSY`: another call uses the same model or file
 * - `ERR_DISPOSED`: a model, adapter, tensor, or scope is no longer there
 * - `ERR_DEVICE_LOST`: the browser took the graphics card away, and with it the tensors on it
 * - `ERR_IO`: a request, or reading or writing a file or storage, failed
 * - `ERR_ABORTED`: a signal aborted the call
 */
export type LoRAErrorCode =
  | 'ERR_OPTION'
  | 'ERR_MISFIT'
  | 'ERR_NOT_READY'
  | 'ERR_NOT_ADAPTED'
  | 'ERR_NOT_FOUND'
  | 'ERR_DAMAGED'
  | 'ERR_UNSUPPORTED'
  | 'ERR_TOO_LARGE'
  | 'ERR_MEMORY'
  | 'ERR_NUMERIC'
  | 'ERR_BUSY'
  | 'ERR_DISPOSED'
  | 'ERR_DEVICE_LOST'
  | 'ERR_IO'
  | 'ERR_ABORTED';

/** Details of an error besides its message. */
export interface LoRAErrorOptions {
  /** Defaults to `ERR_OPTION`. */
  readonly code?: LoRAErrorCode;
  /** All faults. Defaults to the message alone. */
  readonly faults?: readonly string[];
  readonly cause?: unknown;
}

/** Marks the errors of every copy of this library in a program. */
const BRAND = /* @__PURE__ */ Symbol.for('tfjs-lora.LoRAError');

/**
 * The one class of error that this library throws on purpose. The message says what was expected, what came, and the
 * way out; a line each where several things are wrong at once. It has some 4,000 characters at most, whatever it is
 * about. `code` tells programs what kind of error it is. `instanceof LoRAError` holds for errors of other copies of the
 * library too, and `JSON.stringify` includes the message.
 */
export class LoRAError extends Error {
  override readonly name = 'LoRAError';
  readonly code: LoRAErrorCode;
  /** All faults, in full length. */
  readonly faults: readonly string[];

  constructor(
    message: string,
    /** @internal */
    {code = 'ERR_OPTION', faults = [message], cause}: LoRAErrorOptions = {},
  ) {
    super(bounded(message), cause === undefined ? {} : {cause});
    this.code = code;
    this.faults = faults;
  }

  static override [Symbol.hasInstance](value: unknown): value is LoRAError {
    return typeof value === 'object' && value !== null && BRAND in value;
  }

  /** @internal */
  get [BRAND](): true {
    return true;
  }

  /** What `JSON.stringify` writes. */
  toJSON(): Pick<LoRAError, 'name' | 'code' | 'message' | 'faults'> {
    const {name, code, message, faults} = this;
    return {name, code, message, faults};
  }
}

/** Makes errors of one code: `throw damagedError('…', {cause})`. Arguments that are not valid are the default. */
type Make = (message: string, options?: Omit<LoRAErrorOptions, 'code'>) => LoRAError;

const make =
  (code: LoRAErrorCode): Make =>
  (message, options) =>
    new LoRAError(message, {...options, code});

export const misfitError = /* @__PURE__ */ make('ERR_MISFIT');
export const notReadyError = /* @__PURE__ */ make('ERR_NOT_READY');
export const notAdaptedError = /* @__PURE__ */ make('ERR_NOT_ADAPTED');
export const notFoundError = /* @__PURE__ */ make('ERR_NOT_FOUND');
export const damagedError = /* @__PURE__ */ make('ERR_DAMAGED');
export const unsupportedError = /* @__PURE__ */ make('ERR_UNSUPPORTED');
export const tooLargeError = /* @__PURE__ */ make('ERR_TOO_LARGE');
export const memoryError = /* @__PURE__ */ make('ERR_MEMORY');
export const numericError = /* @__PURE__ */ make('ERR_NUMERIC');
export const busyError = /* @__PURE__ */ make('ERR_BUSY');
export const disposedError = /* @__PURE__ */ make('ERR_DISPOSED');
export const deviceLostError = /* @__PURE__ */ make('ERR_DEVICE_LOST');
export const ioError = /* @__PURE__ */ make('ERR_IO');

/** Converts an error to one of this library: itself, or one that says what failed, with the original as its cause. */
export function asLoRAError(error: unknown, what: string, code?: LoRAErrorCode): LoRAError {
  return error instanceof LoRAError ? error : prefixed(`${what}: `, error, code);
}

/** Adds the subject to the message of an error and keeps its code, if it is one of this library. */
export function prefixed(prefix: string, error: unknown, code?: LoRAErrorCode): LoRAError {
  const options = {code: error instanceof LoRAError ? error.code : code, cause: error};
  return new LoRAError(prefix + messageOf(error), options);
}

/** The message of an error, or of any other thrown value. */
export function messageOf(error: unknown): string {
  const {message, name, cause} = (error ?? {}) as Partial<Error>; // of another realm too
  if (typeof message !== 'string') {
    return String(error);
  }
  // Node's message for a failed request is "fetch failed"; the cause has the reason. Browsers give errors without text.
  return message === 'fetch failed' && cause !== undefined ? `${message}: ${messageOf(cause)}` : message || `${name}.`;
}

/** The first entries of a list in a message: `a, b, … and 4,990 more`. */
export function listed(items: readonly string[], most = 40): string {
  return items.length <= most
    ? items.join(', ')
    : `${items.slice(0, most).join(', ')}, ${andMore(items.length - most)}`;
}

/** Faults in a message: a line for each of the first, and how many more there are. */
export function faultLines(faults: readonly string[], most = 20): string {
  const shown = faults.slice(0, most).map(fault => `  ${shortLine(fault, 400)}`);
  return [...shown, ...(faults.length > most ? [`  ${andMore(faults.length - most)}`] : [])].join('\n');
}

function andMore(count: number): string {
  return `… and ${count.toLocaleString('en')} more`;
}

function bounded(message: string): string {
  if (message.length <= MAX_CHARACTERS) {
    return message;
  }
  const lines = message.split('\n').map(line => shortLine(line, MAX_LINE_LENGTH));
  let length = 0;
  const shown = lines.findIndex(line => (length += line.length + 1) > MAX_CHARACTERS - 100);
  return shown < 0 ? lines.join('\n') : [...lines.slice(0, shown), andMore(lines.length - shown)].join('\n');
}

/** Cuts the middle of a line that is too long: its beginning says what is wrong and its end what to do. */
function shortLine(line: string, most: number): string {
  if (line.length <= most) {
    return line;
  }
  const end = Math.floor(most / 5);
  const start = most - end - 50;
  const left = (line.length - start - end).toLocaleString('en');
  return `${line.slice(0, start)} … (${left} characters) … ${line.slice(-end)}`;
}

/**
 * Throws all faults as one error, a line each, if there are any; indented under a title, if there is one.
 *
 * @throws LoRAError
 */
export function throwFaults(faults: readonly string[], code?: LoRAErrorCode, title?: string): void {
  if (faults.length > 0) {
    const message = title === undefined ? faults.join('\n') : `${title}\n${faultLines(faults)}`;
    throw new LoRAError(message, {code, faults});
  }
}

/** A shape in a message: `[4, 8]`. */
export function showShape(shape: readonly (number | null)[]): string {
  return `[${shape.map(String).join(', ')}]`;
}

/** The options of a type. The compiler refuses an incomplete list. */
export type KnownOptions<T> = Readonly<{[K in keyof T]-?: true}>;

/**
 * Refuses options that are not an object, and options that do not exist.
 *
 * @param example a call that passes options.
 * @throws LoRAError with a line for each.
 */
export function checkOptions<T extends object>(options: T, allowed?: KnownOptions<T>, example?: string): void {
  const isObject = typeof options === 'object' && (options as unknown) !== null;
  const unknown = isObject && allowed !== undefined ? unknownOptions(options, allowed) : [];
  // All that an instance of a class has is unknown.
  if (!isObject || (unknown.length > 0 && ![undefined, Object].includes(options.constructor as ObjectConstructor))) {
    const advice = example === undefined ? '' : ` For example: ${example}.`;
    throw new LoRAError(
      (options as unknown) === undefined
        ? `The options are missing.${advice}`
        : `The options must be an object, or left out, got ${kindOf(options)}.${advice}`,
    );
  }
  throwFaults(unknown);
}

/** A line for each option that does not exist. */
export function unknownOptions<T extends object>(options: T, allowed: KnownOptions<T>): string[] {
  return Object.keys(options)
    .filter(key => !Object.hasOwn(allowed, key))
    .map(key => `There is no option "${key}". The options are: ${Object.keys(allowed).join(', ')}.`);
}

/** @throws LoRAError if a value is no finite number, or does not fit what is expected, such as `a number above 0`. */
export function checkNumber(name: string, value: unknown, fits: boolean, expected: string): void {
  if (!Number.isFinite(value) || !fits) {
    throw new LoRAError(`${name} must be ${expected}, got ${show(value)}.`);
  }
}

/** @throws LoRAError if a value is no whole number from `least` on. */
export function checkCount(name: string, value: unknown, least = 1): void {
  checkNumber(name, value, Number.isSafeInteger(value) && Number(value) >= least, `a whole number, ${least} or more`);
}

/** The message of the error that `check` throws, if any. */
export function faultsOf(check: () => unknown): string[] {
  try {
    check();
    return [];
  } catch (error) {
    return [(error as Error).message];
  }
}

/** Longer than any value in a message. */
const MAX_ENTRIES = 2000;

/** A value in a message; a large one is cut. */
export function show(value: unknown): string {
  if (typeof value === 'number') {
    return String(value); // JSON has no NaN
  }
  let left = MAX_ENTRIES;
  try {
    const text = JSON.stringify(value, (_key, entry: unknown) => (left-- > 0 ? entry : '…')) as string | undefined;
    return text ?? typeof value;
  } catch {
    return typeof value; // a bigint, or something that holds itself or is nested without end
  }
}

/** A value of an untrusted file in a message, cut to a limited length. */
export function brief(value: unknown): string {
  const text = show(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

/** The kind of a value, for messages that do not show the value. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) {
    return String(value);
  }
  if (isPromise(value)) {
    return 'a promise: await it';
  }
  if (typeof value !== 'object') {
    return `a ${typeof value}`;
  }
  const {name} = (value.constructor as {name?: string} | undefined) ?? {};
  return Array.isArray(value) ? 'an array' : `an object${name && name !== 'Object' ? ` of class ${name}` : ''}`;
}

/** Whether a value is a promise, also of another realm or library. */
export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as Partial<PromiseLike<unknown>> | null | undefined)?.then === 'function';
}

/** Whether a value is an object as in JSON: neither null nor a list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
