import * as tf from '@tensorflow/tfjs';
import {disposeModel, moveTo} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import {DecodingSession} from '../../../src/extensions/language/session';
import {withoutLeaks} from '../../helpers';
import {fileOf} from './ggufFiles';

/**
 * Lets a backend read at once only what was read by a promise before, as webgpu does. The numbers of new tensors are at
 * hand.
 */
function readsByPromise(backend: tf.KernelBackend): jest.SpyInstance[] {
  const made = new WeakSet();
  const known = new WeakSet();
  const {makeOutput} = backend as unknown as {makeOutput: (...args: unknown[]) => tf.TensorInfo};
  const output = (...args: unknown[]) => {
    const info = makeOutput.apply(backend, args);
    made.add(info.dataId);
    return info;
  };
  const read = backend.read.bind(backend);
  const readSync = backend.readSync.bind(backend);
  return [
    jest.spyOn(backend as unknown as {makeOutput: typeof output}, 'makeOutput').mockImplementation(output),
    jest.spyOn(backend, 'read').mockImplementation(dataId => {
      known.add(dataId);
      return read(dataId);
    }),
    jest.spyOn(backend, 'readSync').mockImplementation(dataId => {
      if (made.has(dataId) && !known.has(dataId)) {
        throw new Error('Numbers were read at once.');
      }
      return readSync(dataId);
    }),
  ];
}

test('what was kept of earlier tokens comes along when the model moves between two of them', async () => {
  await tf.setBackend('cpu');
  await tf.setBackend('wasm');
  await withoutLeaks(async () => {
    const {model} = await loadGGUF(fileOf('llama'));
    const written = async (move: () => Promise<void>) => {
      const session = new DecodingSession(model, [[5, 6, 7]]);
      const scores: number[][] = [];
      for (const token of [8, 9, 10]) {
        scores.push(...(await session.logits()).map(row => [...row]));
        session.add([token]);
        await move();
      }
      session.clear();
      return scores.flat();
    };
    const expected = await written(() => Promise.resolve());
    const spies = readsByPromise(tf.backend());
    const actual = await written(() => moveTo(model, 'cpu'));
    spies.forEach(spy => spy.mockRestore());
    expect(actual).toBeAllClose(expected, {rtol: 1e-4, atol: 1e-4});
    disposeModel(model);
    await tf.setBackend('wasm');
  });
});
