import {type LoRAError, tooLargeError} from '../../platform/errors';

/** The error for something that has more bytes than are allowed. */
export function tooLarge(what: string, maxBytes: number): LoRAError {
  return tooLargeError(
    `${what} has more than the ${maxBytes.toLocaleString('en')} bytes that are allowed. If this is intended, ` +
      'pass {maxBytes}.',
  );
}
