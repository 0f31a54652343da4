import {LoRAError} from '../errors';
import type {OtherFormat} from './otherFormats';

/**
 * The text of a JSON file, from its bytes or as it is; other values are returned unchanged.
 *
 * @param expected what the file was taken for, such as 'config.json'.
 * @throws LoRAError that says what else it is, if its beginning shows it.
 */
export async function jsonText<T>(file: T, expected: string): Promise<Exclude<T, Uint8Array> | string> {
  const isText = typeof file === 'string';
  if (!isText && !(file instanceof Uint8Array)) {
    return file as Exclude<T, Uint8Array>;
  }
  const text = isText ? file : new TextDecoder().decode(file);
  const other = /^\s*[[{]/.test(text)
    ? undefined
    : await explained(undefined, isText ? new TextEncoder().encode(text) : file, expected);
  if (other instanceof Error) {
    throw other;
  }
  return text;
}

/**
 * The error for a file that could not be read: if its first bytes show another format, one that says so. The formats
 * are loaded only then.
 *
 * @param expected what the file was taken for, such as 'an ONNX file'.
 */
export async function explained(error: unknown, file: Uint8Array, expected: string): Promise<unknown> {
  const {otherFormat} = await import('./otherFormats');
  const other = otherFormat(file, expected);
  return other === undefined ? error : formatError(other);
}

/** The error for a file of another format than the one that it was taken for. */
export function formatError({message, code}: OtherFormat): LoRAError {
  return new LoRAError(message, {code});
}
