import {execFileSync} from 'node:child_process';
import * as tf from '@tensorflow/tfjs';
import {onBackend} from '../../src/backends/shared/lifecycle';
import {wasmKernels} from '../../src/backends/wasm/wasmKernels';
import {bundled} from '../bundled';

// Each order of imports needs a process of its own.

const LIBRARY = bundled('src/index.ts');
const COPY = bundled('src/index.ts', 'cjs');

/**
 * What a plain conv net of tfjs comes to on the current backend when it trains after `script`, and what stands in the
 * tables then.
 */
function run(script: string): unknown {
  const code = `
    import {createRequire} from 'node:module';
    import * as tf from '@tensorflow/tfjs';
    tf.enableProdMode();
    const require = createRequire(process.cwd() + '/test/');
    const warnings = [];
    console.warn = warning => warnings.push(String(warning));
    const lib = () => import('${LIBRARY}');
    // Another copy: a module that is required is not the one that is imported.
    const copy = async () => {
      if (require('${COPY}').applyLoRA === (await lib()).applyLoRA) throw new Error('It is the same copy.');
    };
    const wasm = () => require('@tensorflow/tfjs-backend-wasm');
    const wasmAgain = () => {
      for (const path of Object.keys(require.cache)) {
        if (path.includes('tfjs-backend-wasm')) delete require.cache[path];
      }
      wasm();
    };
    const ours = () => tf.getKernelsForBackend('wasm').filter(kernel => Symbol.for('tfjs-lora.kernel') in kernel);
    ${script}
    const model = tf.sequential({layers: [
      tf.layers.conv2d({filters: 1, kernelSize: 2, kernelInitializer: 'ones', inputShape: [3, 3, 1]}),
      tf.layers.maxPooling2d({poolSize: 2, strides: 1}),
      tf.layers.flatten(),
    ]});
    model.compile({optimizer: tf.train.sgd(1), loss: (_, y) => tf.sum(y)});
    await model.trainOnBatch(tf.fill([1, 3, 3, 1], -1), tf.zeros([1, 1]));
    const [kernel] = model.getWeights();
    const trained = [...kernel.dataSync()];
    console.log(JSON.stringify({backend: tf.getBackend(), trained, ours: ours().length, warnings}));
  `;
  const out = execFileSync(process.execPath, ['--input-type=module', '--eval', code], {encoding: 'utf8'});
  return JSON.parse(out);
}

/** Each entry of the kernel, 1 at first, meets one pixel of −1 under the only maximum: 1 − 1·(−1). */
const ON_WASM = {backend: 'wasm', trained: [2, 2, 2, 2], ours: wasmKernels.length, warnings: []};

const SET = `await tf.setBackend('wasm');`;
const AGAIN =
  "const factory = tf.findBackendFactory('wasm'); tf.removeBackend('wasm'); tf.registerBackend('wasm', factory);";

test.each([
  ['library, package, set', `await lib(); wasm(); ${SET}`],
  ['library, package, ready', `await lib(); wasm(); tf.removeBackend('cpu'); await tf.ready();`],
  ['package, library, set', `wasm(); await lib(); ${SET}`],
  ['package, set, library', `wasm(); ${SET} await lib();`],
  [
    'package, library while the backend starts',
    `wasm(); const start = tf.setBackend('wasm'); await lib(); await start;`,
  ],
  ['library, cpu runs, package, set', `await lib(); tf.ones([1]); wasm(); ${SET}`],
  ['library, package, set, cpu and back', `await lib(); wasm(); ${SET} await tf.setBackend('cpu'); ${SET}`],
  ['library, package, set, removed and added, set', `await lib(); wasm(); ${SET} ${AGAIN} ${SET}`],
  ['two copies of the library, package, set', `await lib(); await copy(); wasm(); ${SET}`],
  ['package, set, two copies of the library', `wasm(); ${SET} await lib(); await copy();`],
])('a plain conv net trains on wasm by our kernels in the order %s, and nothing is warned of', (_, script) => {
  expect(run(script)).toEqual(ON_WASM);
});

test(
  'a second copy of a backend’s package, which puts its own kernels in place, gets ours when the backend is set ' +
    'again',
  () => {
    const script =
      `await lib(); wasm(); ${SET} wasmAgain(); const lost = ours().length; ${SET} warnings.splice(0, ` + '0, lost);';
    const {warnings, ...found} = run(script) as {warnings: [number, ...string[]]};
    const {warnings: _, ...expected} = ON_WASM;
    expect(found).toEqual(expected);
    const [lost, ...ofTfjs] = warnings;
    expect(lost).toBeLessThan(wasmKernels.length);
    expect(ofTfjs.every(warning => warning.includes('already registered'))).toBe(true);
  },
);

test('without its package no kernel is registered for a backend', () => {
  expect(run(`await lib();`)).toEqual({backend: 'cpu', trained: [2, 2, 2, 2], ours: 0, warnings: []});
});

/** A backend that holds nothing. */
class EmptyBackend extends tf.KernelBackend {
  override dispose(): void {
    // holds nothing
  }
}

describe('a listener', () => {
  const FACTORIES: [start: string, () => tf.KernelBackend | Promise<tf.KernelBackend>][] = [
    ['starts at once', () => new EmptyBackend()],
    ['starts later', () => Promise.resolve(new EmptyBackend())],
  ];

  afterEach(async () => {
    await tf.setBackend('cpu');
    tf.removeBackend('empty');
  });

  test.each(FACTORIES)('is called for a backend that %s each time that it is set', async (_, factory) => {
    const told: [string, object][] = [];
    onBackend((name, backend) => told.push([name, backend]));
    told.length = 0;
    tf.registerBackend('empty', factory);
    expect(told).toEqual([]);
    await tf.setBackend('empty');
    const first = tf.backend();
    await tf.setBackend('cpu');
    const cpu = tf.backend();
    await tf.setBackend('empty');
    tf.removeBackend('empty');
    tf.registerBackend('empty', factory);
    await tf.setBackend('empty');
    const second = tf.backend();
    expect(second).not.toBe(first);
    expect(told.map(([name]) => name)).toEqual(['empty', 'cpu', 'empty', 'empty']);
    [first, cpu, first, second].forEach((backend, i) => expect(told[i]![1]).toBe(backend));
  });

  test('is called immediately for a backend that is already set, and not while one starts', async () => {
    let end: (backend: tf.KernelBackend) => void = () => undefined;
    tf.registerBackend('empty', () => new Promise(resolve => (end = resolve)));
    await tf.setBackend('cpu');
    const early = jest.fn();
    onBackend(early);
    expect(early.mock.calls).toEqual([['cpu', tf.backend()]]);
    const start = tf.setBackend('empty');
    const late = jest.fn();
    onBackend(late);
    expect(late).not.toHaveBeenCalled();
    end(new EmptyBackend());
    await start;
    expect(late.mock.calls).toEqual([['empty', tf.backend()]]);
  });

  test('is not called for a backend that cannot start', async () => {
    const told = jest.fn();
    onBackend(told);
    told.mockClear();
    jest.spyOn(console, 'warn').mockImplementation();
    tf.registerBackend('empty', () => Promise.reject(new Error('There is no such thing here.')));
    expect(await tf.setBackend('empty')).toBe(false);
    expect(told).not.toHaveBeenCalled();
    jest.restoreAllMocks();
  });

  test('may register kernels, which tfjs then sets up', async () => {
    tf.registerBackend('empty', () => new EmptyBackend());
    const setupFunc = jest.fn();
    onBackend(name => {
      if (name === 'empty') {
        tf.registerKernel({kernelName: 'New', backendName: 'empty', setupFunc, kernelFunc: () => []});
      }
    });
    await tf.setBackend('empty');
    expect(setupFunc).toHaveBeenCalledWith(tf.backend());
    tf.unregisterKernel('New', 'empty');
  });

  test('of each copy of the library is called, with one change to the engine', async () => {
    const engine = tf.engine() as unknown as {setupRegisteredKernels: unknown};
    const changed = engine.setupRegisteredKernels;
    const own = jest.fn();
    onBackend(own);
    const other = jest.fn();
    let copy = onBackend;
    await jest.isolateModulesAsync(async () => {
      jest.doMock('@tensorflow/tfjs', () => tf);
      ({onBackend: copy} = await import('../../src/backends/shared/lifecycle'));
    });
    expect(copy).not.toBe(onBackend);
    copy(other);
    expect(engine.setupRegisteredKernels).toBe(changed);
    [own, other].forEach(listener => listener.mockClear());
    tf.registerBackend('empty', () => new EmptyBackend());
    await tf.setBackend('empty');
    [own, other].forEach(listener => expect(listener.mock.calls).toEqual([['empty', tf.backend()]]));
  });
});
