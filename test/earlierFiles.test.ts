import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  compileModel,
  loadAdapter,
  type LoRAConfig,
  removeLoRA,
  resume,
  seededBatches,
} from 'tfjs-lora';
import {fromONNX} from 'tfjs-lora/onnx';
import {useBackend} from './helpers';

beforeAll(() => useBackend('cpu'));

// Files are promises: what an earlier version wrote computes the same bits. `write.ts` beside them says how they came.

const at = (name: string) => join(__dirname, 'fixtures/earlier', name);
const expected = JSON.parse(readFileSync(at('expected.json'), 'utf8')) as Record<
  'x' | 'y' | 'base' | 'trained' | 'merged' | 'resumed',
  string
>;

function tensorOf(bits: string, shape: number[]): tf.Tensor {
  return tf.tensor(new Float32Array(new Uint8Array(Buffer.from(bits, 'base64')).buffer), shape);
}

const x = () => tensorOf(expected.x, [4, 5, 5, 1]);
const y = () => tensorOf(expected.y, [4, 2]);

/** The bits of what a model computes. */
function output(model: tf.LayersModel): string {
  const values = (model.predict(x()) as tf.Tensor).dataSync<'float32'>().slice();
  return Buffer.from(new Uint8Array(values.buffer)).toString('base64');
}

const load = (name: string) => tf.loadLayersModel(`file://${at(name)}/model.json`);

const CONFIG: LoRAConfig = {
  rank: 2,
  alpha: 4,
  seed: 7,
  trainInFull: ['head'],
  overrides: [{targets: ['hidden'], rank: 3, alpha: 2}],
};

test('an adapted model computes what it computed, and without its adapter what its base did', async () => {
  const model = await load('adapted');
  expect(output(model)).toBe(expected.trained);
  expect(output(await load('base'))).toBe(expected.base);
  expect(output(removeLoRA(model))).toBe(expected.base);
});

test.each(['adapter.safetensors', 'adapter'])(
  'the adapter %s makes the base what the trained model was',
  async name => {
    const place = name.endsWith('.safetensors') ? name : `${name}/model.json`;
    const adapter = await loadAdapter(`file://${at(place)}`);
    expect(output(applyLoRA(await load('base'), adapter))).toBe(expected.trained);
  },
);

test('a PEFT folder makes the base what the trained model was', async () => {
  const base = await load('base');
  expect(output(applyLoRA(base, await loadAdapter(at('peft'), {model: base})))).toBe(expected.trained);
});

test('a checkpoint continues a training with the same bits', async () => {
  const model = applyLoRA(await load('base'), CONFIG);
  model.compile({optimizer: adam({learningRate: 0.01}), loss: 'meanSquaredError'});
  const batches = seededBatches(x(), y(), {batchSize: 2, seed: 1});
  const run = await resume(model, `file://${at('checkpoint')}`, {batches, keep: 1});
  expect(run.initialEpoch).toBe(2);
  await model.fitDataset(batches, {epochs: 3, verbose: 0, ...run});
  expect(output(model)).toBe(expected.resumed);
});

test('an ONNX file computes what it computed, and trains', async () => {
  const model = await fromONNX(new Uint8Array(readFileSync(at('merged.onnx'))));
  expect(output(model)).toBe(expected.merged);
  const adapted = applyLoRA(model, {rank: 1});
  compileModel(adapted, {optimizer: adam({learningRate: 0.01})});
  const {history} = await adapted.fit(x(), tf.tensor1d([0, 1, 0, 1]), {epochs: 3, verbose: 0});
  expect(history.loss!.at(-1)).toBeLessThan(history.loss![0] as number);
});
