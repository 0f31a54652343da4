import {encodeSafetensors} from '../../../src/platform/formats/encodeSafetensors';
import {otherFormat} from '../../../src/platform/formats/otherFormats';
import {bytesOf, readCases} from '../../extensions/onnx/cases';

const text = (value: string) => Uint8Array.from(value, letter => letter.charCodeAt(0));
/** A ZIP archive whose first file has a name. */
const zip = (name: string) => text(`PK\x03\x04${'\0'.repeat(26)}${name}`);
/** A version, and a message in a message. */
const messages = (version: number, ...inner: number[]) =>
  Uint8Array.from([8, version, 0x12, 0x90, 1, 0x0a, 0x80, 1, ...inner]);

test.each<[what: string, file: Uint8Array, way: RegExp]>([
  ['a TensorFlow Lite model', text('\x1c\0\0\0TFL3\x14\0'), /tf2onnx\.convert --tflite/],
  ['a GGUF file', text('GGUF\x03\0\0\0'), /loadGGUF/],
  ['an ONNX Runtime model (.ort)', text('\x20\0\0\0ORTM'), /Use the ONNX file/],
  ['a Keras model in HDF5', text('\x89HDF\r\n\x1a\n\0'), /tensorflowjs_converter/],
  ['a Keras model (.keras)', zip('metadata.json'), /tensorflowjs_converter/],
  ['a ZIP archive, as PyTorch writes', zip('model/data.pkl'), /safetensors\.torch.*torch\.onnx\.export/],
  ['a ZIP archive, as PyTorch writes', text('\x80\x02\x8a\x0a'), /torch\.load/],
  ['a safetensors file', encodeSafetensors({w: {shape: [1], data: Float32Array.of(1)}}), /loadTransformer/],
  ['a Core ML model', messages(4, 0x0a, 5), /converted from/],
  ['a SavedModel of TensorFlow', messages(1, 0x12, 5), /tensorflowjs_converter/],
  ['a SavedModel of TensorFlow', messages(1, 0x22, 5, 0x73), /fromGraphModel/],
  ['a JSON file', text('{"format": "layers-model"}'), /loadKerasModel/],
  ['a pointer of Git LFS', text('version https://git-lfs.github.com/spec/v1\noid sha256:'), /git lfs pull/],
  ['compressed with gzip', text('\x1f\x8b\x08'), /Decompress/],
  ['an array of NumPy', text('\x93NUMPY\x01'), /Check the path/],
  ['a PNG image', text('\x89PNG\r\n\x1a\n'), /Check the path/],
  ['a JPEG image', text('\xff\xd8\xff\xe0'), /Check the path/],
  ['a WebP image', text('RIFF\0\0\0\0WEBPVP8 '), /Check the path/],
  ['an AVI video', text('RIFF\0\0\0\0AVI LIST'), /Check the path/],
  ['a WAV file', text('RIFF\n\0\0\0WAVEfmt '), /readSound/],
  ['a WAV file', text('RF64\xff\xff\xff\xffWAVEds64'), /readSound/],
  ['an MP3 file', text('ID3\x04\0\0'), /ffmpeg/],
  ['an MP3 file', text('\xff\xfb\x90\x64'), /ffmpeg/],
  ['an MP3 file', text('\xff\xf3\x40\xc0'), /ffmpeg/],
  ['an AAC file', text('\xff\xf1\x50\x80'), /ffmpeg/],
  ['a FLAC file', text('fLaC\0\0\0\x22'), /ffmpeg/],
  ['an Ogg file', text('OggS\0\x02'), /ffmpeg/],
  ['an MP4 file', text('\0\0\0\x20ftypM4A '), /ffmpeg/],
  ['a WebM or Matroska file', text('\x1aE\xdf\xa3'), /ffmpeg/],
  ['an AIFF file', text('FORM\0\0\0\x10AIFFCOMM'), /ffmpeg/],
])('%s is recognized, and the error says what to use', (what, file, way) => {
  const other = otherFormat(file, 'a model');
  expect(other?.message).toContain(`This is ${what}, not a model. `);
  expect(other?.message).toMatch(way);
  expect(other?.code).toBe('ERR_UNSUPPORTED');
  expect(otherFormat(file, what)).toBeUndefined();
});

test.each(['<!doctype html><html>', '\n <HTML lang="en">', '<?xml version="1.0"?><Error>', 'ï»¿<!DOCTYPE html>'])(
  'a page that begins with %j is recognized',
  page => {
    const other = otherFormat(text(page), 'an ONNX file');
    expect(other?.message).toMatch(/^This is a web page, not an ONNX file\. Servers send/);
    expect(other?.code).toBe('ERR_DAMAGED');
  },
);

test('every ONNX file is recognized, by whichever exporter it was written', () => {
  for (const each of [...readCases('operations'), ...readCases('networks')]) {
    expect(otherFormat(bytesOf(each), 'a safetensors file')?.message).toContain('This is an ONNX file, not a safe');
    expect(otherFormat(bytesOf(each), 'an ONNX file')).toBeUndefined();
  }
});

test.each([[''], ['x'], ['\x08'], ['\x08\x01\x12'], ['\x08\x01\x12\xff\xff\xff'], ['some text'], ['\0'.repeat(64)]])(
  'nothing is said of the bytes %j',
  bytes => {
    expect(otherFormat(text(bytes), 'a model')).toBeUndefined();
  },
);

/** What is said of a file: the name of its format. */
const formatOf = (file: Uint8Array) => /^This is (.*), not/.exec(otherFormat(file, 'a model')?.message ?? '')?.[1];

test('a pickle is one of protocol 2 to 5', () => {
  const pickle = (protocol: number) => formatOf(Uint8Array.of(0x80, protocol, 0x8a));
  expect([1, 2, 5, 6].map(pickle)).toEqual([
    undefined,
    'a ZIP archive, as PyTorch writes',
    'a ZIP archive, as PyTorch writes',
    undefined,
  ]);
  expect(formatOf(Uint8Array.of(0x80))).toBeUndefined();
});

test('an ONNX file is one of version 3 to 31, which names its producer or begins with its graph', () => {
  const onnx = (version: number, after: string) => formatOf(Uint8Array.of(8, version, ...text(after)));
  expect([2, 3, 31, 32].map(version => onnx(version, ':\x05graph'))).toEqual([
    undefined,
    'an ONNX file',
    'an ONNX file',
    undefined,
  ]);
  expect(['B\x04', '\x12\x07pytorch', '\x12\x07\x01', '\x13\x07pytorch'].map(after => onnx(8, after))).toEqual([
    'an ONNX file',
    'an ONNX file',
    undefined,
    undefined,
  ]);
});

test('a Core ML model is one of version 1 to 15', () => {
  expect([0, 1, 15, 16].map(version => formatOf(messages(version, 0x0a, 5)))).toEqual([
    undefined,
    'a Core ML model',
    'a Core ML model',
    undefined,
  ]);
});

test('a safetensors file has a header below 32 MB', () => {
  const withLength = (...length: number[]) => formatOf(Uint8Array.of(...length, ...text('{"w":{}}')));
  expect(withLength(8, 0, 0, 1, 0, 0, 0, 0)).toBe('a safetensors file');
  expect(withLength(8, 0, 0, 2, 0, 0, 0, 0)).toBeUndefined();
  expect(withLength(8, 0, 0, 0, 1, 0, 0, 0)).toBeUndefined();
  expect(withLength(8, 0, 0, 0, 0, 0, 0, 1)).toBeUndefined();
});

test('the first 64 bytes tell the format', () => {
  expect(otherFormat(text(`${' '.repeat(59)}<html>`), 'a model')?.message).toContain('a web page');
  expect(otherFormat(text(`${' '.repeat(60)}<html>`), 'a model')).toBeUndefined();
});
