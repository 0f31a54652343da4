import {brief, damagedError, listed, unsupportedError} from '../../../platform/errors';
import {type ByteReader, concatenate} from '../../../platform/formats/byteReader';
import {explained} from '../../../platform/formats/explained';
import {type BlockFormat, FORMAT_NAMES, formatNamed} from '../../quantized/formats/formats';
import {HeaderReader, type Metadata, type MetadataValue} from './headerReader';

// Layout: the four bytes `GGUF`, the version (4 bytes), the number of tensors and of metadata pairs (8 bytes each).
// Each pair: a text, a type (4 bytes), a value. Each tensor: its name, the number of axes, their sizes from last to
// first, its type, and the offset of its bytes after the header. Then the tensors' bytes, each at a multiple of
// `general.alignment`. All little-endian. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

/** A tensor in a file. */
export interface GGUFTensor {
  readonly name: string;
  /** The shape, with the contiguous axis last: `[out, in]` of a matrix. */
  readonly shape: readonly number[];
  readonly format: BlockFormat;
  /** Where its bytes begin in the file, and how many there are. */
  readonly begin: number;
  readonly bytes: number;
}

export interface GGUFFile {
  readonly metadata: Metadata;
  /** In the order of their bytes. */
  readonly tensors: readonly GGUFTensor[];
  /**
   * Reads the bytes of the tensors in order, and holds one at a time.
   *
   * @param writerOf returns a function that gets the bytes of a tensor in pieces. It is given without them then.
   */
  read(writerOf?: (tensor: GGUFTensor) => PieceWriter | undefined): AsyncIterable<TensorBytes>;
}

export type TensorBytes = [tensor: GGUFTensor, bytes: Uint8Array<ArrayBuffer> | undefined];

/** Takes bytes that belong `at` so many bytes from the beginning. */
export type PieceWriter = (bytes: Uint8Array, at: number) => void;

/** The formats by their type ids in files. */
const FORMATS: Readonly<Record<number, string>> = {
  0: 'F32',
  1: 'F16',
  2: 'Q4_0',
  3: 'Q4_1',
  6: 'Q5_0',
  7: 'Q5_1',
  8: 'Q8_0',
  12: 'Q4_K',
  13: 'Q5_K',
  14: 'Q6_K',
  30: 'BF16',
};

/** The names of unsupported formats, for error messages. */
const OTHERS: Readonly<Record<number, string>> = {
  ...{9: 'Q8_1', 10: 'Q2_K', 11: 'Q3_K', 15: 'Q8_K', 16: 'IQ2_XXS', 17: 'IQ2_XS', 18: 'IQ3_XXS', 19: 'IQ1_S'},
  ...{20: 'IQ4_NL', 21: 'IQ3_S', 22: 'IQ2_S', 23: 'IQ4_XS', 24: 'I8', 25: 'I16', 26: 'I32', 27: 'I64', 28: 'F64'},
  ...{29: 'IQ1_M', 34: 'TQ1_0', 35: 'TQ2_0', 39: 'MXFP4', 40: 'NVFP4'},
};

/** No model has more axes, nor does ggml. */
const MAX_AXES = 4;
/** Minimum bytes: a pair has a text, 8, a type, 4, and a value, 1; a tensor a text, count, axis, type and offset. */
const [LEAST_OF_PAIR, LEAST_OF_TENSOR] = [13, 32];
/** How many bytes a writer gets at a time. Tests change it. */
export const PIECE = {bytes: 2 ** 18};
/** The most characters of a name in error messages. */
const MAX_NAME_BYTES = 2 ** 16;

/**
 * Reads the header of a GGUF file.
 *
 * @param wanted the tokenizer lists to keep. The others are skipped.
 * @throws LoRAError if it is no GGUF file, is damaged, or is truncated.
 */
export async function openGGUF(source: ByteReader, wanted: readonly string[] = []): Promise<GGUFFile> {
  const reader = new HeaderReader(source);
  const magic = await reader.word();
  if (magic !== 0x46554747) {
    const head = await reader.take(Math.min(60, (source.size ?? 64) - 4)).catch(() => new Uint8Array());
    const first = concatenate([new Uint8Array(Uint32Array.of(magic).buffer), head]);
    const error = damagedError('This is not a GGUF file: it does not begin with the letters GGUF.');
    throw await explained(error, first, 'a GGUF file');
  }
  const version = await reader.word();
  if (version !== 2 && version !== 3) {
    throw unsupportedError(`The GGUF file is of version ${version}; this library reads versions 2 and 3.`);
  }
  const tensorCount = await reader.count(LEAST_OF_TENSOR, 'tensors');
  const pairCount = await reader.count(LEAST_OF_PAIR, 'pairs of metadata');
  const metadata = new Map<string, MetadataValue>();
  for (let i = 0; i < pairCount; i++) {
    const key = await reader.text(MAX_NAME_BYTES);
    if (metadata.has(key)) {
      throw damagedError(`The GGUF file has ${brief(key)} twice.`);
    }
    const value = await reader.value(key, wanted.includes(key));
    if (value !== undefined) {
      metadata.set(key, value);
    }
  }
  const alignment = alignmentOf(metadata);
  const infos = new Map<string, Omit<GGUFTensor, 'begin'> & {offset: number}>();
  for (let i = 0; i < tensorCount; i++) {
    const name = await reader.text(MAX_NAME_BYTES);
    if (infos.has(name)) {
      throw damagedError(`The GGUF file has the tensor ${brief(name)} twice.`);
    }
    infos.set(name, await tensorInfo(reader, name, alignment));
  }
  const start = Math.ceil(reader.position / alignment) * alignment;
  const tensors = [...infos.values()]
    .map(({offset, ...info}) => ({...info, begin: start + offset}))
    .sort((one, other) => one.begin - other.begin || one.bytes - other.bytes);
  checkOffsets(tensors, source.size);
  return {
    metadata,
    tensors,
    read: (writerOf = () => undefined) => bytesOfEach(reader, tensors, writerOf),
  };
}

async function* bytesOfEach(
  reader: HeaderReader,
  tensors: readonly GGUFTensor[],
  writerOf: (tensor: GGUFTensor) => PieceWriter | undefined,
): AsyncGenerator<TensorBytes> {
  for (const tensor of tensors) {
    await reader.skipTo(tensor.begin);
    const write = writerOf(tensor);
    for (let at = 0; write !== undefined && at < tensor.bytes; at += PIECE.bytes) {
      write(await reader.take(Math.min(PIECE.bytes, tensor.bytes - at)), at);
    }
    yield [tensor, write === undefined ? await reader.take(tensor.bytes) : undefined];
  }
}

function alignmentOf(metadata: Metadata): number {
  const alignment = metadata.get('general.alignment') ?? 32;
  if (typeof alignment !== 'number' || !Number.isInteger(alignment) || alignment < 1 || alignment > 2 ** 20) {
    throw damagedError(`general.alignment of the GGUF file must be a positive integer, got ${brief(alignment)}.`);
  }
  return alignment;
}

async function tensorInfo(
  reader: HeaderReader,
  name: string,
  alignment: number,
): Promise<Omit<GGUFTensor, 'begin'> & {offset: number}> {
  const axes = await reader.word();
  if (axes < 1 || axes > MAX_AXES) {
    throw damagedError(`The tensor ${brief(name)} of the GGUF file has ${axes} axes; 1 to ${MAX_AXES} are possible.`);
  }
  const shape: number[] = [];
  for (let axis = 0; axis < axes; axis++) {
    shape.unshift(await reader.uint64());
  }
  const type = await reader.word();
  const format = formatNamed(FORMATS[type] ?? '');
  if (format === undefined) {
    throw unsupportedError(
      `The tensor ${brief(name)} of the GGUF file is of type ${OTHERS[type] ?? type}, which is not ` +
        `supported. Supported: ${listed(FORMAT_NAMES)}.`,
    );
  }
  const width = shape.at(-1) ?? 0;
  const numbers = shape.reduce((product, size) => product * size, 1);
  const bytes = (numbers / format.numbers) * format.bytes;
  if (numbers === 0 || !Number.isSafeInteger(numbers) || width % format.numbers !== 0 || !Number.isSafeInteger(bytes)) {
    throw damagedError(
      `The tensor ${brief(name)} of the GGUF file is of shape [${shape.join(', ')}], which blocks of ` +
        `${format.numbers} numbers (${format.name}) do not fill.`,
    );
  }
  const offset = await reader.uint64();
  if (offset % alignment !== 0) {
    throw damagedError(
      `The tensor ${brief(name)} of the GGUF file begins at byte ${offset}, which is not a multiple of ${alignment}.`,
    );
  }
  return {name, shape, format, bytes, offset};
}

/** Refuses tensors that overlap or extend beyond the end of the file. */
function checkOffsets(tensors: readonly GGUFTensor[], size: number | null): void {
  let end = 0;
  let before = '';
  for (const {name, begin, bytes} of tensors) {
    if (begin < end) {
      throw damagedError(`The tensors ${brief(before)} and ${brief(name)} of the GGUF file share bytes.`);
    }
    [end, before] = [begin + bytes, name];
    if (end > (size ?? Infinity) || !Number.isSafeInteger(end)) {
      throw damagedError(`The GGUF file has ${size} bytes, and its tensor ${brief(name)} would end at byte ${end}.`);
    }
  }
}
