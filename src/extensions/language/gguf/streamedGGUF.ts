import {openRandomAccess, type RandomAccessSource} from '../../../core/storage/randomAccess';
import type {LoadOptions} from '../../../core/storage/limits';
import type {StreamSource} from '../../../core/storage/sources';
import {tooLarge} from '../../../core/storage/tooLarge';
import type {ByteStream} from '../../../platform/formats/byteReader';
import {unlessAborted} from '../../../platform/signals';
import {type Place, type Run, StreamedFile} from '../../quantized/streamed/streamedFile';
import type {GGUFTensor} from './ggufFile';
import {type RowOrder, rowsInOrder} from './rowOrder';

/** Where a GGUF file is: one that is read in order, or for streamed weights one that is read where they are. */
export type GGUFSource = StreamSource | RandomAccessSource;

/** How many bytes of a header are read at a time. */
const HEADER_PIECE = 2 ** 18;

/** Opens a file whose matrices stay there. */
export async function openStreamed(
  pending: GGUFSource | PromiseLike<GGUFSource>,
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

/** The bytes of the tensors that do not stay in a file: first those that the config needs. */
export function* tensorsFrom(
  file: StreamedFile,
  tensors: readonly GGUFTensor[],
  {first, inFile}: {first: readonly string[]; inFile: ReadonlySet<string>},
): Generator<[GGUFTensor, Uint8Array<ArrayBuffer>]> {
  const isFirst = ({name}: GGUFTensor) => first.includes(name);
  for (const tensor of [...tensors.filter(isFirst), ...tensors.filter(other => !isFirst(other))]) {
    if (!inFile.has(tensor.name)) {
      const bytes = new Uint8Array(tensor.bytes);
      file.read(bytes, tensor.begin);
      yield [tensor, bytes];
    }
  }
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
 * @param isMatrix which of them may stay there.
 */
export function placesIn(
  file: StreamedFile,
  tensors: readonly GGUFTensor[],
  isMatrix: (tensor: GGUFTensor) => boolean,
  orderOf: (name: string) => RowOrder | undefined,
): Map<string, Place> {
  const places = new Map<string, Place>();
  let run: OpenRun | undefined;
  let block: string | undefined;
  for (const tensor of tensors) {
    const {name, begin, bytes, shape} = tensor;
    const [, ownBlock] = /^blk\.(\d+)\./.exec(name) ?? [];
    if (ownBlock !== block) {
      [run, block] = [undefined, ownBlock];
    }
    if (!isMatrix(tensor)) {
      continue;
    }
    if (block !== undefined) {
      run ??= {begin, bytes: 0, reordered: []};
      run.bytes = begin + bytes - run.begin;
      file.largestRun = Math.max(file.largestRun, run.bytes);
    }
    const [rows = 0] = shape;
    const rowTo = orderOf(name);
    const order = rowTo && rowsInOrder(rowTo, rows);
    const place = {file, begin, bytes, run, order};
    places.set(name, place);
    if (order !== undefined) {
      run?.reordered.push(place);
    }
  }
  return places;
}
