import {placesIn} from '../../quantized/streamed/openStreamed';
import type {Place, StreamedFile} from '../../quantized/streamed/streamedFile';
import type {GGUFTensor} from './ggufFile';
import {type RowOrder, rowsInOrder} from './rowOrder';

export {inOrder, openStreamed} from '../../quantized/streamed/openStreamed';

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

/** Where the quantized and 16-bit matrices of a GGUF file are, by the names of their tensors. */
export function placesInGGUF(
  file: StreamedFile,
  tensors: readonly GGUFTensor[],
  orderOf: (name: string) => RowOrder | undefined,
): Map<string, Place> {
  const blockOf = (name: string) => /^blk\.(\d+)\./.exec(name)?.[1];
  return placesIn(file, tensors, blockOf, ({name, shape, format}) => {
    const [rows = 0] = shape;
    const rowTo = orderOf(name);
    return shape.length === 2 && format.name !== 'F32' ? {order: rowTo && rowsInOrder(rowTo, rows)} : undefined;
  });
}
