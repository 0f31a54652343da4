import * as tf from '@tensorflow/tfjs';
import {adam, getAdapter, LoRAError, moveTo, withAdapter} from 'tfjs-lora';
import {numbers, useBackend} from '../../helpers';
import {setting} from './setting';

const OPTIONS = {epochs: 1, batchSize: 4, shuffle: false, verbose: 0} as const;

beforeAll(() => {
  // A copy of the cpu backend.
  tf.registerBackend('second', tf.findBackendFactory('cpu'));
  tf.copyRegisteredKernels('cpu', 'second');
  tf.registerBackend('broken', () => {
    throw new Error('no such device');
  });
});

beforeEach(() => useBackend('cpu'));

test('what was moved goes on with the same bits with nothing on the backend that it left', async () => {
  const whole = setting(adam({learningRate: 0.05}));
  for (let i = 0; i < 2; i++) {
    await whole.model.fit(whole.x, whole.y, OPTIONS);
  }
  tf.registerBackend('left', tf.findBackendFactory('cpu'));
  tf.copyRegisteredKernels('cpu', 'left');
  await tf.setBackend('left');
  const {model, x, y, factors, dispose} = setting(adam({learningRate: 0.05}));
  await model.fit(x, y, OPTIONS);
  const adapter = getAdapter(model);
  const before = tf.memory().numTensors;
  await moveTo([model, x, y, adapter], 'cpu');
  expect(tf.memory().numTensors).toBe(before);
  expect(tf.getBackend()).toBe('cpu');
  const left = tf.findBackend('left') as unknown as Record<'read' | 'readSync', () => never>;
  left.read = left.readSync = () => {
    throw new Error('left');
  };
  expect(Object.values(adapter.tensors).map(tensor => numbers(tensor))).toEqual(
    Object.values(getAdapter(model).tensors).map(tensor => numbers(tensor)),
  );
  await model.fit(x, y, OPTIONS);
  expect(factors()).toEqual(whole.factors());
  [whole.dispose, dispose].forEach(each => each());
  tf.removeBackend('left');
});

test('a backend that is not there or does not start is refused, and the current one stays', async () => {
  const x = tf.ones([2]);
  const refused = expect.objectContaining({code: 'ERR_UNSUPPORTED'}) as Error;
  await expect(moveTo(x, 'nowhere')).rejects.toEqual(refused);
  await expect(moveTo(x, 'nowhere')).rejects.toThrow('There is no backend "nowhere". Available: ');
  const warn = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
  await expect(moveTo(x, 'broken')).rejects.toEqual(refused);
  await expect(moveTo(x, 'broken')).rejects.toThrow('The backend "broken" does not start here.');
  warn.mockRestore();
  expect(tf.getBackend()).toBe('cpu');
  expect(numbers(x)).toEqual([1, 1]);
});

test('what a backend fails to read stays there, and so does the current backend', async () => {
  tf.registerBackend('failing', tf.findBackendFactory('cpu'));
  tf.copyRegisteredKernels('cpu', 'failing');
  await tf.setBackend('failing');
  const x = tf.ones([2]);
  const failing = tf.findBackend('failing') as unknown as Record<'read' | 'readSync', () => never>;
  failing.read = failing.readSync = () => {
    throw new Error('the device is gone');
  };
  const moving = moveTo(x, 'cpu');
  await expect(moving).rejects.toMatchObject({name: 'LoRAError', code: 'ERR_UNSUPPORTED'});
  await expect(moving).rejects.toThrow('Nothing is moved to "cpu": the device is gone');
  expect(tf.getBackend()).toBe('failing');
  x.dispose();
  await useBackend('cpu');
  tf.removeBackend('failing');
});

test('only models, adapters, optimizers and tensors are moved, and no model that is in use', async () => {
  const {model, x, y} = setting();
  await expect(moveTo([x, 3 as never], 'second')).rejects.toThrow('moveTo takes layers models, adapters,');
  await expect(moveTo({} as never, 'second')).rejects.toThrow(LoRAError);
  const busy = expect.objectContaining({code: 'ERR_BUSY'}) as Error;
  const errors: unknown[] = [];
  const move = () => moveTo(model, 'second').catch((error: unknown) => void errors.push(error));
  await model.fit(x, y, {...OPTIONS, callbacks: [new tf.CustomCallback({onEpochEnd: move})]});
  await withAdapter(model, getAdapter(model), move);
  expect(errors).toEqual([busy, busy]);
  expect(String(errors[0])).toContain('The model is training. Move it after the fit.');
  expect(String(errors[1])).toContain('A withAdapter on the model is open.');
  expect(tf.getBackend()).toBe('cpu');
  await move();
  expect(tf.getBackend()).toBe('second');
  await useBackend('cpu');
});
