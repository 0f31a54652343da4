import {execFileSync} from 'node:child_process';
import * as tf from '@tensorflow/tfjs';
import {ensureWasmKernels} from '../../src/kernels/wasm/wasm';
import {useBackend} from '../helpers';

/** What a script, run in a process of its own, prints as JSON. It has `tf`, `lib()`, `wasm()`, `gradient()` and `branded()`. */
function run(script: string): unknown {
  const code = `
    import {createRequire} from 'node:module';
    import * as tf from '@tensorflow/tfjs';
    tf.enableProdMode();
    const require = createRequire(process.cwd() + '/test/');
    const warnings = [];
    console.warn = warning => warnings.push(String(warning));
    const lib = async (copy = '') => (await import('./src/backends/wasm.ts' + copy)).ensureWasmKernels();
    const wasm = () => require('@tensorflow/tfjs-backend-wasm');
    const kernels = () => tf.getKernelsForBackend('wasm');
    const branded = () =>
      kernels().filter(kernel => Symbol.for('tfjs-lora.kernel') in kernel).length;
    // The gradient of Σ maxPool(conv(x, k)) at x = −1, k = 1: every kind of kernel, new and wrapped.
    const gradient = () => tf.tidy(() => {
      const f = (x, k) => tf.sum(tf.maxPool(tf.conv2d(x, k, 1, 'valid'), 2, 1, 'valid'));
      const [dx, dk] = tf.grads(f)([tf.fill([1, 3, 3, 1], -1), tf.ones([2, 2, 1, 1])]);
      return [...dx.dataSync(), ...dk.dataSync()];
    });
    ${script}
  `;
  const out = execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', code], {
    encoding: 'utf8',
  });
  return JSON.parse(out);
}

/** The only window's first maximum is its first pixel, which four pixels of x feed, and k meets those. */
const GRADIENT = [1, 1, 0, 1, 1, 0, 0, 0, 0, -1, -1, -1, -1];

test('without the wasm backend nothing is registered', () => {
  expect(run(`await lib(); console.log(kernels().length);`)).toBe(0);
});

test.each([
  ['library, backend, setBackend', `await lib(); wasm(); await lib(); await tf.setBackend('wasm');`],
  ['library, backend, setBackend, use', `await lib(); wasm(); await tf.setBackend('wasm'); await lib();`],
  ['backend, library, setBackend', `wasm(); await lib(); await tf.setBackend('wasm');`],
  ['backend, setBackend, library', `wasm(); await tf.setBackend('wasm'); await lib();`],
  [
    'backend, library, setBackend, another and back',
    `wasm(); await lib(); await tf.setBackend('wasm'); await tf.setBackend('cpu'); await tf.setBackend('wasm');`,
  ],
])('the kernels work in the order %s, and nothing is warned of', (_, script) => {
  expect(run(`${script} console.log(JSON.stringify([gradient(), warnings]));`)).toEqual([GRADIENT, []]);
});

test('a backend that is loaded again is noticed', () => {
  const [before, lost, after, numbers] = run(`
    wasm();
    await lib();
    const before = branded();
    for (const path of Object.keys(require.cache)) {
      if (path.includes('tfjs-backend-wasm')) delete require.cache[path];
    }
    wasm();
    const lost = branded();
    await lib();
    await tf.setBackend('wasm');
    console.log(JSON.stringify([before, lost, branded(), gradient()]));
  `) as [number, number, number, number[]];
  expect(lost).toBeLessThan(before);
  expect(after).toBe(before);
  expect(numbers).toEqual(GRADIENT);
});

test('two copies of the library leave each other’s kernels alone', () => {
  expect(
    run(`
      wasm();
      await lib();
      const before = kernels();
      await lib('?copy');
      console.log(kernels().length === before.length && kernels().every((kernel, i) => kernel === before[i]));
    `),
  ).toBe(true);
});

test('nothing is registered twice', async () => {
  await useBackend('wasm');
  ensureWasmKernels();
  const before = tf.getKernelsForBackend('wasm');
  ensureWasmKernels();
  expect(tf.getKernelsForBackend('wasm').every((kernel, i) => kernel === before[i])).toBe(true);
});
