import {decodeSafetensors} from './safetensors';

/** The contents of a safetensors file. @throws LoRAError as `decodeSafetensors`, or that says what else it is. */
export async function readSafetensors(bytes: Uint8Array): Promise<ReturnType<typeof decodeSafetensors>> {
  try {
    return decodeSafetensors(bytes);
  } catch (error) {
    throw bytes instanceof Uint8Array ? await explained(error, bytes, 'a safetensors file') : error;
  }
}

/**
 * The error for a file that could not be read: if its first bytes show another format, one that says so. The formats
 * are loaded only then.
 *
 * @param expected what the file was taken for, such as 'an ONNX file'.
 */
export async function explained(error: unknown, file: Uint8Array, expected: string): Promise<unknown> {
  const {otherFormat} = await import('./otherFormats');
  return otherFormat(file, expected) ?? error;
}
