import {spawnSync} from 'node:child_process';
import {existsSync} from 'node:fs';
import {join} from 'node:path';
import type * as tf from '@tensorflow/tfjs';
import {loadWordBase} from 'tfjs-lora/words';
import {numbers} from '../helpers';

const ROOT = join(__dirname, '../..');

interface OnBackend {
  kernels: string[];
  gradient: number[];
}

interface Registered {
  classes: string[];
  cpu: OnBackend;
  wasm: OnBackend;
  /** After the backend was removed. */
  wasmAgain: OnBackend;
}

/** Stand-ins for layers of Keras. A bundled page has them if it uses `loadKerasModel`: docs/converting.md says so. */
const OF_KERAS = [
  ...[
    'Bidirectional',
    'Convolution',
    'EinsumDense',
    'FusedDepthwiseConv2D',
    'GRU',
    'GRUCell',
    'KerasLayer',
    'SeparableConv1D',
    'Subtract',
  ],
  ...['exponential', 'hardSilu', 'leakyRelu', 'relu6Sigmoid'],
].map(name => `tfjs-lora>${name}`);

/** What a program got that loads models: token ids and the number of answers in a chat, or messages. */
interface Loaded {
  ids: number[] | string;
  answer: number | string;
}

interface Results {
  registered: Record<string, Registered>;
  /** Bundled without the optional peers, with @huggingface/tokenizers, and with @huggingface/jinja too. */
  loaders: Record<string, [Loaded, Loaded, Loaded]>;
  /** The embedding of a sweep. */
  words: Record<string, number[]>;
}

let {registered, loaders, words}: Results = {registered: {}, loaders: {}, words: {}};

beforeAll(() => {
  if (!existsSync(join(ROOT, 'dist/index.js'))) {
    throw new Error('There is no build to test. Run `npm run build` first; `npm test` does.');
  }
  // Outside of jest, whose modules the bundlers do not get on with.
  const {stdout, stderr} = spawnSync(process.execPath, ['--import', 'tsx', join(__dirname, 'bundle.ts')], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  const line = stdout.split('\n').find(text => text.startsWith('RESULTS '));
  if (line === undefined) {
    throw new Error(`The script failed: ${stderr}`);
  }
  ({registered, loaders, words} = JSON.parse(line.slice('RESULTS '.length)) as Results);
}, 240_000);

describe("a bare import 'tfjs-lora'", () => {
  test('registers classes and kernels where nothing is bundled', () => {
    expect(registered.none!.classes).toEqual(
      expect.arrayContaining(['tfjs-lora>LoRADense', 'tfjs-lora>LoRAWeights', 'tfjs-lora>FrozenLayer']),
    );
    const {cpu, wasm, wasmAgain} = registered.none!;
    expect(cpu.kernels).toContain('FusedBatchNorm');
    expect(wasm.kernels).toContain('Conv2DBackpropFilter');
    expect([cpu, wasm, wasmAgain].map(({gradient}) => gradient)).toEqual(Array(3).fill([4, 4, 4, 4]));
    expect(wasmAgain).toEqual(wasm);
  });

  test.each(['vite', 'webpack', 'esbuild', 'rollup'])('registers the same where %s bundles it', bundler => {
    const {classes, ...onBackends} = registered.none!;
    expect(registered[bundler]).toEqual({classes: classes.filter(name => !OF_KERAS.includes(name)), ...onBackends});
  });

  test('registers the same where a page has two copies of the library', () => {
    expect(registered.twoCopies).toEqual(registered.esbuild);
  });

  test('registers layers of Keras too where a bundled page loads Keras models', () => {
    expect(registered.none!.classes).toEqual(expect.arrayContaining(OF_KERAS));
    expect(registered.withKeras).toEqual(registered.none);
  });
});

test('the network for words is the same where it is imported, required, and bundled', async () => {
  const {model, encode} = await loadWordBase();
  const samples = Float32Array.from({length: 16_000}, (_, i) => Math.sin(i * i * 1e-5));
  const embedding = numbers(model.predict(encode({samples, sampleRate: 16_000})) as tf.Tensor);
  const ways = ['none', 'required', 'vite', 'webpack', 'esbuild', 'rollup'];
  expect(Object.keys(words)).toEqual(expect.arrayContaining(ways));
  for (const [way, values] of Object.entries(words)) {
    expect([way, values.length]).toEqual([way, 96]);
    expect(values).toBeAllClose(embedding);
  }
  expect(Math.max(...embedding)).toBeGreaterThan(0.1);
});

describe.each(['vite', 'esbuild'])('a page that loads models of the hub, bundled by %s,', bundler => {
  const without = (peer: string) =>
    expect.stringMatching(`^ERR_UNSUPPORTED: .* npm install @huggingface/${peer}`) as string;

  test('builds without the optional peers, and its errors say which to install', () => {
    const [neither, withTokenizers] = loaders[bundler]!;
    expect(neither).toEqual({ids: without('tokenizers'), answer: without('tokenizers')});
    expect(withTokenizers).toEqual({ids: [1, 2], answer: without('jinja')});
  });

  test('contains the peers that are installed', () => {
    expect(loaders[bundler]![2]).toEqual({ids: [1, 2], answer: 1});
  });
});
