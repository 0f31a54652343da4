import {execFileSync} from 'node:child_process';

// Each order of imports needs a process of its own.

/** What a plain conv net of tfjs computes on wasm when it trains after `script`, as JSON. */
function run(script: string): unknown {
  const code = `
    import {createRequire} from 'node:module';
    import * as tf from '@tensorflow/tfjs';
    tf.enableProdMode();
    const require = createRequire(process.cwd() + '/test/');
    const warnings = [];
    console.warn = warning => warnings.push(String(warning));
    const lib = (copy = '') => import('./src/backends/repairs.ts' + copy);
    const wasm = () => require('@tensorflow/tfjs-backend-wasm');
    ${script}
    const model = tf.sequential({layers: [
      tf.layers.conv2d({filters: 1, kernelSize: 2, kernelInitializer: 'ones', inputShape: [3, 3, 1]}),
      tf.layers.maxPooling2d({poolSize: 2, strides: 1}),
      tf.layers.flatten(),
    ]});
    model.compile({optimizer: tf.train.sgd(1), loss: (_, y) => tf.sum(y)});
    await model.trainOnBatch(tf.fill([1, 3, 3, 1], -1), tf.zeros([1, 1]));
    const [kernel] = model.getWeights();
    console.log(JSON.stringify([tf.getBackend(), [...kernel.dataSync()], warnings]));
  `;
  const out = execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', code], {
    encoding: 'utf8',
  });
  return JSON.parse(out);
}

/** Each entry of the kernel, 1 at first, meets one pixel of −1 under the only maximum: 1 − 1·(−1). */
const TRAINED = ['wasm', [2, 2, 2, 2], []];

test.each([
  ['library, backend, setBackend', `await lib(); wasm(); await tf.setBackend('wasm');`],
  ['library, backend, ready', `await lib(); wasm(); tf.removeBackend('cpu'); await tf.ready();`],
  ['backend, library, setBackend', `wasm(); await lib(); await tf.setBackend('wasm');`],
  [
    'library, another backend, backend',
    `await lib(); await tf.setBackend('cpu'); wasm(); await tf.setBackend('wasm');`,
  ],
  ['two copies of the library, backend', `await lib(); await lib('?copy'); wasm(); await tf.setBackend('wasm');`],
])('a plain conv net trains on wasm, without a layer of this library, in the order %s', (_, script) => {
  expect(run(script)).toEqual(TRAINED);
});
