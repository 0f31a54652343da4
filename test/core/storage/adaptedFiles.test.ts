import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, fileHandler, loadAdapter} from '../../../src/index';
import {disposeModel, getAdapter, removeLoRA, setAdapter, summarizeLoRA} from '../../../src/node';
import {withoutLeaks} from '../../helpers';

const FOLDER = join(__dirname, '../../fixtures/adapted');

interface Values {
  shape: number[];
  values: number[];
}

interface Expected {
  inputs: Values[];
  base: Values;
  adapted: Values;
  classes: string[];
  config: object;
}

const EXPECTED = JSON.parse(readFileSync(join(FOLDER, 'expected.json'), 'utf8')) as Record<string, Expected>;

function predict(model: tf.LayersModel, {inputs}: Expected): ArrayLike<number> {
  return tf.tidy(() => {
    const xs = inputs.map(({shape, values}) => tf.tensor(values, shape));
    return (model.predict(xs.length === 1 ? xs[0]! : xs) as tf.Tensor).dataSync();
  });
}

describe.each(Object.entries(EXPECTED))('%s: a file on disk', (name, expected) => {
  const file = (path: string) => join(FOLDER, name, path);
  const load = () => tf.loadLayersModel(fileHandler(file('adapted')));

  test('loads as the adapted model that it was', async () => {
    await withoutLeaks(async () => {
      const model = await load();
      expect(predict(model, expected)).toBeAllClose(expected.adapted.values);
      expect(model.layers.map(layer => layer.getClassName().replace('tfjs-lora>', ''))).toEqual(expected.classes);
      const adapter = getAdapter(model);
      expect(adapter.config).toEqual(expected.config);
      adapter.dispose();
      disposeModel(model);
    });
  });

  test('gives the base back', async () => {
    await withoutLeaks(async () => {
      const model = await load();
      const base = removeLoRA(model);
      expect(predict(base, expected)).toBeAllClose(expected.base.values);
      disposeModel(model);
      disposeModel(base);
    });
  });

  test.each([
    ['in two files', () => loadAdapter(fileHandler(file('adapter')))],
    ['as safetensors', () => loadAdapter(readFileSync(file('adapter.safetensors')))],
  ])('holds an adapter %s that fits the base and the adapted model', async (_, read) => {
    await withoutLeaks(async () => {
      const adapter = await read();
      expect(adapter.config).toEqual(expected.config);
      const model = await load();
      const base = removeLoRA(model);
      const again = applyLoRA(base, adapter);
      expect(predict(again, expected)).toBeAllClose(expected.adapted.values);
      setAdapter(model, null);
      expect(predict(model, expected)).toBeAllClose(expected.base.values);
      setAdapter(model, adapter);
      expect(predict(model, expected)).toBeAllClose(expected.adapted.values);
      expect(String(summarizeLoRA(again))).toBe(String(summarizeLoRA(model)));
      adapter.dispose();
      [model, base, again].forEach(disposeModel);
    });
  });
});
