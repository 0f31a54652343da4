import {damagedError, kindOf, LoRAError, unsupportedError} from '../../platform/errors';
import {checkRate, mixed, type Sound} from './sound';

/** The sound of a WAV file. */
export interface WavSound extends Sound {
  /** Each channel. `samples` is their mean. */
  readonly channels: readonly Float32Array[];
}

const PCM = 1;
const FLOAT = 3;
/** The format is in the first bytes of a GUID (WAVE_FORMAT_EXTENSIBLE). */
const EXTENSIBLE = 0xfffe;
/** The sizes that programs write if they do not know how long a stream will be. 0 is one more. */
const UNKNOWN_SIZE = 0x7ffff000;
/** How files may start. The sizes of the last two have 64 bits, in a chunk `ds64` (EBU Tech 3306, ITU-R BS.2088). */
const STARTS = ['RIFF', 'RF64', 'BW64'];

interface Format {
  isFloat: boolean;
  channels: number;
  sampleRate: number;
  /** Bytes of a sample of one channel. */
  width: number;
}

/**
 * Reads a WAV file: samples of 8 to 32 bits, or floats of 32 or 64 bits, with any number of channels. RF64 and BW64,
 * the formats of longer files, are read too. If the header does not know the size of the samples, they reach to the end
 * of the file.
 *
 * @param bytes the content of the file.
 * @returns the mean of the channels, each channel, and the sample rate. Values are from −1 to 1.
 * @throws LoRAError `ERR_DAMAGED` if it is not a WAV file, or is incomplete; `ERR_UNSUPPORTED` if its samples are
 *     compressed; `ERR_OPTION` if `bytes` are no bytes, or its sample rate is not between 1000 and 384,000.
 * @example
 *     const {samples, sampleRate} = readWav(new Uint8Array(await file.arrayBuffer()));
 * @experimental
 */
export function readWav(bytes: Uint8Array | ArrayBuffer): WavSound {
  const source: unknown = bytes;
  if (!(source instanceof Uint8Array) && !(source instanceof ArrayBuffer)) {
    throw new LoRAError(`readWav reads the bytes of a file, a Uint8Array or an ArrayBuffer, got ${kindOf(source)}.`);
  }
  const file = source instanceof Uint8Array ? source : new Uint8Array(source);
  if (!isWav(file)) {
    throw damagedError(
      'The file is not a WAV file: it does not start with RIFF, RF64 or BW64, and WAVE. Convert it, for example with ' +
        'ffmpeg -i sound.mp3 sound.wav.',
    );
  }
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const isWhole = view.getUint32(4, true) + 8 === file.length; // its header was written last
  let format: Format | undefined;
  let dataSize: number | undefined; // of 64 bits
  for (let at = 12; at + 8 <= file.length;) {
    const [name, start] = [textAt(file, at), at + 8];
    const stored = view.getUint32(at + 4, true);
    const size = name === 'data' && stored === 0xffffffff ? (dataSize ?? stored) : stored;
    const left = file.length - start;
    const isUnknown = size === 0 ? !isWhole : size >= UNKNOWN_SIZE && size === stored && size > left;
    const isOpen = name === 'data' && isUnknown;
    if (size > left && !isOpen) {
      throw damagedError(`The WAV file ends in its chunk "${name}" of ${size} bytes.`);
    }
    if (name === 'fmt ') {
      format = formatOf(new DataView(file.buffer, file.byteOffset + start, size));
    } else if (name === 'ds64' && size >= 16) {
      dataSize = Number(view.getBigUint64(start + 8, true)); // after that of the file
    } else if (name === 'data') {
      if (format === undefined) {
        throw damagedError('The WAV file has no format before its samples.');
      }
      return soundOf(new DataView(file.buffer, file.byteOffset + start, isOpen ? left : size), format);
    }
    at = start + size + (size % 2); // chunks begin at even offsets
  }
  throw damagedError('The WAV file has no samples.');
}

export function isWav(file: Uint8Array): boolean {
  return file.length >= 12 && STARTS.includes(textAt(file, 0)) && textAt(file, 8) === 'WAVE';
}

function textAt(file: Uint8Array, at: number): string {
  return String.fromCharCode(...file.subarray(at, at + 4));
}

/** @throws LoRAError if it is not understood. */
function formatOf(chunk: DataView): Format {
  if (chunk.byteLength < 16) {
    throw damagedError(`The format of the WAV file has ${chunk.byteLength} bytes; it should have 16 or more.`);
  }
  const isExtensible = chunk.getUint16(0, true) === EXTENSIBLE && chunk.byteLength >= 26;
  const code = chunk.getUint16(isExtensible ? 24 : 0, true);
  const [channels, sampleRate] = [chunk.getUint16(2, true), chunk.getUint32(4, true)];
  const [block, bits] = [chunk.getUint16(12, true), chunk.getUint16(14, true)];
  const width = block / channels;
  if (code !== PCM && code !== FLOAT) {
    throw unsupportedError(`The WAV file has samples of format ${code}. Supported: 1 (PCM) and 3 (floats).`);
  }
  const widths = code === FLOAT ? [4, 8] : [1, 2, 3, 4];
  const fits = code === FLOAT ? bits === 8 * width : bits >= 8 && bits <= 8 * width;
  if (!widths.includes(width) || !fits) {
    throw unsupportedError(
      `The WAV file has ${channels} channels with samples of ${bits} bits in ${block} bytes. Supported: 8 to 32 bits, ` +
        'and floats of 32 and 64.',
    );
  }
  checkRate('The sample rate of the WAV file', sampleRate);
  return {isFloat: code === FLOAT, channels, sampleRate, width};
}

function soundOf(data: DataView, {isFloat, channels: count, sampleRate, width}: Format): WavSound {
  const block = count * width;
  const length = Math.floor(data.byteLength / block);
  const read = reader(data, isFloat, width);
  const channels = Array.from({length: count}, (_, channel) =>
    Float32Array.from({length}, (__, i) => read(i * block + channel * width)),
  );
  return {samples: mixed(channels), channels, sampleRate};
}

/** Reads the sample at an offset. Integers are aligned to the most significant bit, whatever their number of bits. */
function reader(data: DataView, isFloat: boolean, width: number): (at: number) => number {
  if (isFloat) {
    return width === 4 ? at => data.getFloat32(at, true) : at => data.getFloat64(at, true);
  }
  switch (width) {
    case 1:
      return at => (data.getUint8(at) - 128) / 2 ** 7;
    case 2:
      return at => data.getInt16(at, true) / 2 ** 15;
    case 3:
      return at => (data.getUint8(at) + data.getInt16(at + 1, true) * 2 ** 8) / 2 ** 23;
    default:
      return at => data.getInt32(at, true) / 2 ** 31;
  }
}
