import {decodeSafetensors} from './decodeSafetensors';
import {explained} from './explained';

/** The contents of a safetensors file. @throws LoRAError as `decodeSafetensors`, or that says what else it is. */
export async function readSafetensors(bytes: Uint8Array): Promise<ReturnType<typeof decodeSafetensors>> {
  try {
    return decodeSafetensors(bytes);
  } catch (error) {
    throw bytes instanceof Uint8Array ? await explained(error, bytes, 'a safetensors file') : error;
  }
}
