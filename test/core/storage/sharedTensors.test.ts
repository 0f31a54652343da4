import * as tf from '@tensorflow/tfjs';
import {applyLoRA, getAdapter, loadAdapter, saveAdapter, toSafetensors} from '../../../src';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {encodeSafetensors, type NamedValues} from '../../../src/platform/formats/encodeSafetensors';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {cnn, MemoryHandler, predictions, stirUpdates} from '../../models';

/** The bytes of an adapter of VeRA, with something changed in its config. */
async function changed(change: (parts: Record<string, unknown>) => unknown): Promise<Uint8Array> {
  const bytes = await toSafetensors(getAdapter(applyLoRA(cnn().model, {method: 'vera', rank: 6})));
  const {metadata, tensors} = decodeSafetensors(bytes);
  const config = JSON.parse(metadata.get('config')!) as {parts: Record<string, unknown>};
  const values = Object.fromEntries([...tensors].map(([name, {shape, data}]) => [name, {shape, data} as NamedValues]));
  const text = JSON.stringify({...config, parts: change(config.parts)});
  return encodeSafetensors(values, {metadata: {...Object.fromEntries(metadata), config: text}});
}

test('the random factors of VeRA are in a file once, and load as they were, bit for bit', async () => {
  const {model, inputs} = cnn();
  const adapted = applyLoRA(model, {method: 'vera', rank: 6});
  stirUpdates(adapted);
  const expected = predictions(adapted, inputs);
  await withoutLeaks(async () => {
    const adapter = getAdapter(adapted);
    const bytes = await toSafetensors(adapter);
    const names = [...decodeSafetensors(bytes).tensors.keys()].filter(name => /vera_[AB]$/.test(name));
    expect(names.sort()).toEqual(['vera_A', 'vera_B']);
    const handler = new MemoryHandler();
    await saveAdapter(adapter, handler);
    for (const read of [await loadAdapter(bytes), await loadAdapter(handler)]) {
      expect(read.config).toEqual(adapter.config);
      const values = ({tensors}: typeof read) =>
        Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, numbers(tensor)]));
      expect(values(read)).toEqual(values(adapter));
      const again = applyLoRA(model, read);
      expect(predictions(again, inputs)).toEqual(expected);
      again.dispose();
      read.dispose();
    }
    adapter.dispose();
  });
});

test('layers with random factors of their own keep them in the file', async () => {
  await useBackend('cpu');
  const {model} = cnn();
  const adapter = getAdapter(applyLoRA(model, {method: 'vera', rank: 6}));
  const [name] = Object.keys(adapter.tensors).filter(each => each.endsWith('vera_A'));
  const other = {...adapter, tensors: {...adapter.tensors, [name!]: tf.onesLike(adapter.tensors[name!]!)}};
  const bytes = await toSafetensors(other);
  const read = await loadAdapter(bytes);
  expect(decodeSafetensors(bytes).tensors.has(name!)).toBe(true);
  expect(numbers(read.tensors[name!]!)).toEqual(numbers(other.tensors[name!]!));
});

test.each<[string, (parts: Record<string, unknown>) => unknown]>([
  ['larger than the whole', parts => ({...parts, [Object.keys(parts)[0]!]: [1000, 1000, 6]})],
  ['without a shape', parts => ({...parts, [Object.keys(parts)[0]!]: 'all'})],
  ['of a tensor that is not there', parts => ({...parts, 'dense/kernel': [2, 2]})],
])('a part %s is refused, and leaves nothing behind', async (_, change) => {
  await useBackend('cpu');
  const bytes = await changed(change);
  await withoutLeaks(async () => {
    await expect(loadAdapter(bytes)).rejects.toThrow(/The adapter's file is broken: .* is no part of what it holds/);
  });
});
