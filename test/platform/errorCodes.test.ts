import {readFileSync} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  getAdapter,
  loadAdapter,
  LoRAError,
  type LoRAErrorCode,
  mergeLoRA,
  resetOptimizer,
  saveAdapter,
  setAdapter,
  toSafetensors,
  withAdapter,
} from 'tfjs-lora';
import {useBackend} from '../helpers';

const base = (units = 2) => tf.sequential({layers: [tf.layers.dense({units, inputShape: [3]})]});
const adapted = (units?: number) => applyLoRA(base(units), {rank: 1});

/** A call of the public interface that ends with an error of each code. */
const CALLS: Record<Exclude<LoRAErrorCode, 'ERR_DEVICE_LOST'>, () => unknown> = {
  ERR_OPTION: () => applyLoRA(base(), {rank: 0}),
  ERR_MISFIT: () => setAdapter(adapted(), getAdapter(adapted(4))),
  ERR_NOT_READY: () => resetOptimizer(adapted()),
  ERR_NOT_ADAPTED: () => mergeLoRA(base()),
  ERR_NOT_FOUND: () => loadAdapter('file:///nowhere/model.json'),
  ERR_DAMAGED: () => loadAdapter(new Uint8Array(4)),
  ERR_UNSUPPORTED: () => loadAdapter('carrier-pigeon://adapter'),
  ERR_TOO_LARGE: () => loadAdapter(new Uint8Array(4), {maxBytes: 3}),
  ERR_MEMORY: async () => {
    await useBackend('wasm');
    const backend = tf.backend() as unknown as {
      makeOutput(shape: number[], dtype: string): tf.TensorInfo;
      disposeData(dataId: tf.DataId): boolean;
    };
    const large: tf.TensorInfo[] = [];
    try {
      for (let i = 0; i < 17; i++) {
        large.push(backend.makeOutput([2 ** 26], 'float32')); // 256 MiB, to which nothing is written
      }
    } finally {
      large.forEach(({dataId}) => backend.disposeData(dataId));
    }
  },
  ERR_NUMERIC: async () => {
    const model = adapted();
    model.setWeights(model.getWeights().map(weight => tf.fill(weight.shape, NaN)));
    await toSafetensors(getAdapter(model));
  },
  ERR_BUSY: async () => {
    const model = adapted();
    const adapter = getAdapter(model);
    let end = (): void => undefined;
    const open = withAdapter(model, adapter, () => new Promise<void>(resolve => (end = resolve)));
    try {
      setAdapter(model, adapter);
    } finally {
      end();
      await open;
    }
  },
  ERR_DISPOSED: () => {
    const model = adapted();
    const adapter = getAdapter(model);
    tf.dispose(adapter.tensors);
    setAdapter(model, adapter);
  },
  ERR_IO: () => saveAdapter(adapted(), 'file:///dev/null/adapter'),
  ERR_ABORTED: () => loadAdapter('file:///nowhere/model.json', {signal: AbortSignal.abort()}),
};

test.each(Object.entries(CALLS))('%s is the code of an error', async (code, call) => {
  await useBackend('cpu');
  const error: unknown = await Promise.resolve()
    .then(call)
    .then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
  expect(error).toBeInstanceOf(LoRAError);
  expect(error).toMatchObject({name: 'LoRAError', code});
  expect((error as LoRAError).faults.length).toBeGreaterThan(0);
});

test('there is a call for each code; a lost graphics card is tested in Chromium', () => {
  const codes = [...readFileSync('src/platform/errors.ts', 'utf8').matchAll(/^ {2}\| '(ERR_\w+)'/gm)].map(
    ([, code]) => code,
  );
  expect(codes.sort()).toEqual([...Object.keys(CALLS), 'ERR_DEVICE_LOST'].sort());
});
