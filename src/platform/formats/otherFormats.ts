import type {LoRAErrorCode} from '../errors';

/** How to convert a PyTorch file, which is a pickle: reading one can run code. */
export const PYTORCH_TO_SAFETENSORS =
  'Files of PyTorch (.bin, .pt) can run code when they are read, and are not supported. Convert yours in Python: ' +
  'import torch, safetensors.torch as s; ' +
  "s.save_file({k: v.clone() for k, v in torch.load('pytorch_model.bin', weights_only=True).items()}, " +
  "'model.safetensors', {'format': 'pt'})";

/** How to convert a model of TensorFlow or Keras. */
export const FROM_TENSORFLOW =
  'Convert it with tensorflowjs_converter of Python, and load its model.json with loadKerasModel of tfjs-lora or, if ' +
  'it is a graph model, with fromGraphModel of tfjs-lora/graph.';

interface FileFormat {
  name: string;
  /** Whether a file is of it, by its first bytes: as one character each, and as they are. */
  isOf: (start: string, bytes: Uint8Array) => boolean;
  way: string;
}

function marked(name: string, at: number, mark: string, way: string): FileFormat {
  return {name, isOf: start => start.startsWith(mark, at), way};
}

const TO_WAV = 'Convert it to WAV, for example with ffmpeg -i sound.mp3 sound.wav.';
const OTHER_KIND = 'It is not a model or an adapter. Check the path.';
const ZIP = 'PK\x03\x04';
const KERAS = /^(?:metadata|config)\.json|^model\.weights\.h5/;

/** Formats that models come in, and what is often found in their place. */
const FORMATS: readonly FileFormat[] = [
  marked(
    'a TensorFlow Lite model',
    4,
    'TFL3',
    'Convert it to ONNX with Python, python -m tf2onnx.convert --tflite model.tflite --output model.onnx, and load ' +
      'it with fromONNX of tfjs-lora/onnx.',
  ),
  marked('a GGUF file', 0, 'GGUF', 'Load it with loadGGUF of tfjs-lora/language.'),
  marked('an ONNX Runtime model (.ort)', 4, 'ORTM', 'Use the ONNX file that it was made from.'),
  marked('a Keras model in HDF5', 0, '\x89HDF', FROM_TENSORFLOW),
  {
    name: 'a Keras model (.keras)',
    isOf: start => start.startsWith(ZIP) && KERAS.test(start.slice(30)),
    way: FROM_TENSORFLOW,
  },
  {
    name: 'a ZIP archive, as PyTorch writes',
    isOf: (start, [first, version = 0]) => start.startsWith(ZIP) || (first === 0x80 && version > 1 && version < 6),
    way: `${PYTORCH_TO_SAFETENSORS}. To use a model in ONNX, export it with torch.onnx.export.`,
  },
  {
    name: 'a safetensors file',
    isOf: (start, bytes) => start[8] === '{' && bytes.subarray(3, 8).every((byte, i) => byte <= (i === 0 ? 1 : 0)),
    way:
      'Load a model of the Hugging Face hub with loadTransformer of tfjs-lora/transformers, and an adapter with ' +
      'loadAdapter.',
  },
  {
    name: 'a Core ML model',
    isOf: (_, bytes) => isProtobuf(bytes, [1, 15], [0x0a]),
    way: 'Use the model that it was converted from.',
  },
  {
    name: 'a SavedModel of TensorFlow',
    isOf: (_, bytes) => isProtobuf(bytes, [1, 1], [0x12, 0x1a, 0x22]),
    way: FROM_TENSORFLOW,
  },
  {
    name: 'an ONNX file',
    isOf: (start, [first, version = 0]) =>
      first === 8 &&
      version > 2 &&
      version < 32 &&
      (/^[:B]/.test(start.slice(2)) || (start[2] === '\x12' && /^.[ -~]/s.test(start.slice(3)))),
    way: 'Load it with fromONNX of tfjs-lora/onnx.',
  },
  {
    name: 'a JSON file',
    isOf: start => /^\s*[[{]\s*["{[\]}]/.test(start),
    way:
      'Load the model.json of a model with loadKerasModel of tfjs-lora, or with tf.loadGraphModel and fromGraphModel ' +
      'of tfjs-lora/graph.',
  },
  marked(
    'a pointer of Git LFS',
    0,
    'version https://git-lfs',
    'Download the file that it stands for: git lfs pull, or on the Hugging Face hub the address with /resolve/.',
  ),
  marked('compressed with gzip', 0, '\x1f\x8b', 'Decompress it.'),
  marked('an array of NumPy', 0, '\x93NUMPY', OTHER_KIND),
  marked('a PNG image', 0, '\x89PNG', OTHER_KIND),
  marked('a JPEG image', 0, '\xff\xd8\xff', OTHER_KIND),
  marked('a WebP image', 8, 'WEBP', OTHER_KIND),
  marked('an AVI video', 8, 'AVI ', OTHER_KIND),
  {
    name: 'a WAV file',
    isOf: start => /^(?:RIFF|RF64|BW64).{4}WAVE/s.test(start),
    way: 'Load it with readSound of tfjs-lora/sound.',
  },
  {
    name: 'an MP3 file',
    isOf: (start, [first, second = 0]) => start.startsWith('ID3') || (first === 0xff && (second & 0xe6) === 0xe2),
    way: TO_WAV,
  },
  {
    name: 'an AAC file',
    isOf: (_, [first, second = 0]) => first === 0xff && (second & 0xf6) === 0xf0,
    way: TO_WAV,
  },
  marked('a FLAC file', 0, 'fLaC', TO_WAV),
  marked('an Ogg file', 0, 'OggS', TO_WAV),
  marked('an MP4 file', 4, 'ftyp', TO_WAV),
  marked('a WebM or Matroska file', 0, '\x1aE\xdf\xa3', TO_WAV),
  {
    name: 'an AIFF file',
    isOf: start => /^FORM.{4}AIF[FC]/s.test(start),
    way: TO_WAV,
  },
  marked('a PDF file', 0, '%PDF', OTHER_KIND),
];

/** How many bytes of a file tell its format. */
export const FORMAT_BYTES = 64;

/** What a file is that was taken for another format. */
export interface OtherFormat {
  /** What it is, and what to use. */
  readonly message: string;
  /** The code of the error that says so. */
  readonly code: LoRAErrorCode;
}

/**
 * What a file is that was taken for another format. `undefined` if its first bytes say nothing.
 *
 * @param expected what it was taken for, such as 'an ONNX file'.
 */
export function otherFormat(file: Uint8Array, expected: string): OtherFormat | undefined {
  const bytes = file.subarray(0, FORMAT_BYTES);
  const start = String.fromCharCode(...bytes);
  if (/^(?:ï»¿)?\s*<(?:!|html|\?xml|head|body)/i.test(start)) {
    return {
      message: `This is a web page, not ${expected}. Servers send their start page or "not found" for a wrong address.`,
      code: 'ERR_DAMAGED',
    };
  }
  const format = FORMATS.find(({isOf}) => isOf(start, bytes));
  return format === undefined || format.name === expected
    ? undefined
    : {message: `This is ${format.name}, not ${expected}. ${format.way}`, code: 'ERR_UNSUPPORTED'};
}

/** Whether bytes begin with a version, and a message whose first field is a message that begins with one of these. */
function isProtobuf(bytes: Uint8Array, [low, high]: [number, number], inner: readonly number[]): boolean {
  const [first = 0, version = 0, second = 0] = bytes;
  const afterLength = (at: number) => {
    let end = at;
    while ((bytes[end] ?? 0) > 127) {
      end++;
    }
    return end + 1;
  };
  const message = afterLength(3);
  return (
    first === 0x08 &&
    version >= low &&
    version <= high &&
    second === 0x12 &&
    bytes[message] === 0x0a &&
    inner.includes(bytes[afterLength(message + 1)] ?? 0)
  );
}
