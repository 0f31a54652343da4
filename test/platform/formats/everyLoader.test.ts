import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {fileHandler, loadAdapter, loadKerasModel, LoRAError} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import {fromONNX} from 'tfjs-lora/onnx';
import {encodeSounds, readSound} from 'tfjs-lora/sound';
import {encodeImages} from 'tfjs-lora/images';
import {loadTransformer} from 'tfjs-lora/transformers';
import {main} from '../../../src/cli/main';
import {fixture} from '../../extensions/transformers/fixtures';
import {useBackend, withoutLeaks} from '../../helpers';
import {temporaryFolder} from '../../temporaryFolder';

const text = (value: string) => Uint8Array.from(value, letter => letter.charCodeAt(0));
/** Files of formats that no loader reads, and what the error says of them. */
const FILES = {
  tflite: [text(`\x1c\0\0\0TFL3${'\0'.repeat(100)}`), 'This is a TensorFlow Lite model, not'],
  h5: [text(`\x89HDF\r\n\x1a\n${'\0'.repeat(100)}`), 'This is a Keras model in HDF5, not'],
  pt: [text(`PK\x03\x04${'\0'.repeat(26)}model/data.pkl`), 'This is a ZIP archive, as PyTorch writes, not'],
  png: [text(`\x89PNG\r\n\x1a\n${'\0'.repeat(100)}`), 'This is a PNG image, not'],
  pb: [
    Uint8Array.of(8, 1, 0x12, 0x0c, 0x0a, 0x0a, 0x12, 8, 8, 1, 2, 3, 4, 5, 6, 7),
    'This is a SavedModel of TensorFlow, not',
  ],
  html: [text('<!doctype html><title>404</title>'), 'This is a web page, not'],
} as const;

let folder: string;
beforeEach(async () => {
  await useBackend('cpu');
  folder = temporaryFolder();
});

/** What is made of a small network, which is disposed then. */
async function withNetwork<T>(use: (model: tf.LayersModel) => Promise<T>): Promise<T> {
  const model = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [2]})]});
  try {
    return await use(model);
  } finally {
    model.dispose();
  }
}

const config = '{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["dense"]}';

/** What loads a file: from its bytes, and its path. */
const LOADERS: Readonly<Record<string, (file: Uint8Array, path: string) => Promise<unknown>>> = {
  fromONNX: file => fromONNX(file),
  'fromONNX of a path': (_, path) => fromONNX(path),
  loadGGUF: file => loadGGUF(file),
  loadTransformer: file => loadTransformer({config: fixture('bert').config, weights: file, tokenizer: false}),
  loadAdapter: file => loadAdapter(file),
  'loadAdapter of a path': (_, path) => loadAdapter(fileHandler(path)),
  loadKerasModel: (_, path) => loadKerasModel(fileHandler(path)),
  'loadKerasModel of a URL': file => {
    const fetched = jest
      .spyOn(globalThis, 'fetch')
      .mockImplementation(() => Promise.resolve(new Response(file as BodyInit)));
    return loadKerasModel('https://example.com/model.json').finally(() => fetched.mockRestore());
  },
  "loadAdapter of PEFT's files": file => withNetwork(model => loadAdapter({config, weights: file}, {model})),
  "loadAdapter of PEFT's config": file => withNetwork(model => loadAdapter({config: file, weights: file}, {model})),
  "loadAdapter of PEFT's folder": (file, path) => {
    const adapter = `${path}-adapter`;
    mkdirSync(adapter);
    writeFileSync(join(adapter, 'adapter_config.json'), file);
    writeFileSync(join(adapter, 'adapter_model.safetensors'), file);
    return withNetwork(model => loadAdapter(adapter, {model}));
  },
  'loadTransformer of a config': file => loadTransformer({config: file, weights: file, tokenizer: false}),
  'loadTransformer of a tokenizer': file => {
    const {config: ofModel, weights} = fixture('bert');
    return loadTransformer({config: ofModel, weights, tokenizerJson: file, Tokenizer: jest.fn() as never});
  },
  readSound: file => readSound(file),
  encodeSounds: file =>
    encodeSounds(tf.sequential(), file, {preprocessor: {feature_extractor_type: 'ASTFeatureExtractor'}}),
};

describe.each(Object.entries(FILES))('a file of the kind .%s', (kind, [file, message]) => {
  test.each(Object.entries(LOADERS))('is named by %s', async (name, load) => {
    const path = join(folder, `model.${kind}`);
    writeFileSync(path, file);
    await withoutLeaks(async () => {
      const error = await load(file, path).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(LoRAError);
      // PEFT saves its own adapters with PyTorch too.
      const expected =
        name === "loadAdapter of PEFT's files" && kind === 'pt'
          ? 'The weights are a pickle (adapter_model.bin)'
          : message;
      expect((error as LoRAError).message).toContain(expected);
    });
  });

  test('is named by the command line', async () => {
    const path = join(folder, `model.${kind}`);
    writeFileSync(path, file);
    let written = '';
    const code = await main(['inspect', path], {out: line => (written += line), err: line => (written += line)});
    expect(code).toBe(1);
    expect(written).toContain(message);
  });
});

test('the command line names a SavedModel by its folder', async () => {
  const path = join(folder, 'saved');
  mkdirSync(path);
  writeFileSync(join(path, 'saved_model.pb'), FILES.pb[0]);
  let written = '';
  const code = await main(['inspect', path], {out: line => (written += line), err: line => (written += line)});
  expect(code).toBe(1);
  expect(written).toContain(`${path} is a SavedModel of TensorFlow. Convert it with tensorflowjs_converter`);
});

const page = '<!doctype html><title>404</title>';
const sound = {samples: new Float32Array(999), sampleRate: 16000};
const image = {data: new Uint8ClampedArray(4), width: 1, height: 1};
test.each<[name: string, load: () => Promise<unknown>]>([
  ['config.json', () => loadTransformer({config: page, weights: new Uint8Array(9), tokenizer: false})],
  ['adapter_config.json', () => withNetwork(model => loadAdapter({config: page, weights: new Uint8Array(9)}, {model}))],
  ['preprocessor_config.json', () => encodeSounds(tf.sequential(), sound, {preprocessor: page})],
  ['preprocessor_config.json', () => withNetwork(model => encodeImages(model, image, {preprocessor: page}))],
])('a web page whose text was passed as %s is named', async (name, load) => {
  await withoutLeaks(async () => {
    await expect(load()).rejects.toMatchObject({
      message: expect.stringContaining(`This is a web page, not ${name}.`) as string,
      code: 'ERR_DAMAGED',
    });
  });
});
