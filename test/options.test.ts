import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  exportPEFT,
  getAdapter,
  loadAdapter,
  LoRAError,
  predictWith,
  replaceHead,
  saveAdapter,
  toSafetensors,
} from '../src';
import {MemoryHandler, mlp} from './models';
import {peftFiles, smallNetwork} from './peftNetworks';
import {useBackend} from './helpers';

beforeAll(() => useBackend('cpu'));

test('an option that does not exist is refused wherever there are options', async () => {
  const {model, inputs} = mlp();
  const adapted = applyLoRA(model, {rank: 2});
  const adapter = getAdapter(adapted);
  const handler = new MemoryHandler();
  const wrong: object = {dtyp: 'float16'};
  const uses: [known: string, use: () => unknown][] = [
    ['dtype, allowNonFinite, signal, onProgress', () => toSafetensors(adapter, wrong)],
    ['format, dtype, allowNonFinite, signal, onProgress', () => saveAdapter(adapter, handler, wrong)],
    [
      'adapter, keyMap, baseModel, dtype, allowNonFinite, signal, onProgress',
      () => exportPEFT(model, {adapter, ...wrong}),
    ],
    [
      'model, keyMap, maxBytes, signal, onProgress',
      () => loadAdapter(peftFiles('lora'), {model: smallNetwork().model, ...wrong}),
    ],
    ['batchSize', () => predictWith(adapted, inputs[0]!, [null, null, null, null], wrong)],
    ['after', () => replaceHead(model, [tf.layers.dense({units: 2, name: 'new'})], wrong)],
  ];
  for (const [known, use] of uses) {
    const told = Promise.resolve().then(use);
    await expect(told).rejects.toThrow(LoRAError);
    await expect(told).rejects.toThrow(`There is no option "dtyp". The options are: ${known}.`);
  }
  expect(handler.json).toBe('');
});
