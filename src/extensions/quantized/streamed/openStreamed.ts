import {openRandomAccess, type RandomAccessSource} from '../../../core/storage/randomAccess';
import type {LoadOptions} from '../../../core/storage/limits';
import type {StreamSource} from '../../../core/storage/sources';
import {tooLarge} from '../../../core/storage/tooLarge';
import type {ByteStream} from '../../../platform/formats/byteReader';
import {unlessAborted} from '../../../platform/signals';
import {type Place, type Run, StreamedFile} from './streamedFile';

/** Where a file of weights is: one that is read in order, or for streamed weights one that is read where they are. */
export type WeightSource = StreamSource | RandomAccessSource;

/** How many bytes of a header are read at a time. */
const HEADER_PIECE = 2 ** 18;

/** Opens a file whose matrices stay there. */
export async function openStreamed(
  pending: WeightSource | PromiseLike<WeightSource>,
  {signal, maxBytes = Infinity}: LoadOptions,
  maxReadBytes: number,
): Promise<StreamedFile> {
  const source = await unlessAborted(Promise.resolve(pending), signal);
  const file = new StreamedFile(await openRandomAccess(source), maxReadBytes);
  if (file.size > maxBytes) {
    file.close();
    throw tooLarge('The file', maxBytes);
  }
  return file;
}

/** The bytes of a file from its beginning. */
export function inOrder(file: StreamedFile): ByteStream {
  let position = 0;
  return {
    size: file.size,
    next: () => {
      const bytes = new Uint8Array(Math.min(HEADER_PIECE, file.size - position));
      file.read(bytes, position);
      position += bytes.length;
      return Promise.resolve(bytes.length === 0 ? undefined : bytes);
    },
    cancel: () => {
      file.close();
    },
  };
}

/** The bytes of a tensor in a file. */
export interface TensorBytes {
  readonly name: string;
  readonly begin: number;
  readonly bytes: number;
}

interface OpenRun extends Run {
  bytes: number;
  readonly reordered: Place[];
}

/**
 * Where matrices are in a file, by the names of their tensors. Those of a block of the model that follow each other are
 * read together.
 *
 * @param tensors all of the file, in the order of their bytes.
 * @param blockOf the block of the model that a tensor belongs to.
 * @param placeOf what is special about a matrix that may stay there; `undefined` for other tensors.
 */
export function placesIn<T extends TensorBytes>(
  file: StreamedFile,
  tensors: readonly T[],
  blockOf: (name: string) => string | undefined,
  placeOf: (tensor: T) => Partial<Place> | undefined,
): Map<string, Place> {
  const places = new Map<string, Place>();
  let run: OpenRun | undefined;
  let block: string | undefined;
  for (const tensor of tensors) {
    const {name, begin, bytes} = tensor;
    const ownBlock = blockOf(name);
    if (ownBlock !== block) {
      [run, block] = [undefined, ownBlock];
    }
    const special = placeOf(tensor);
    if (special === undefined) {
      continue;
    }
    if (block !== undefined) {
      run ??= {begin, bytes: 0, reordered: []};
      run.bytes = begin + bytes - run.begin;
      file.largestRun = Math.max(file.largestRun, run.bytes);
    }
    const place = {file, begin, bytes, run, order: undefined, widens: false, ...special};
    places.set(name, place);
    if (place.order !== undefined) {
      run?.reordered.push(place);
    }
  }
  return places;
}
