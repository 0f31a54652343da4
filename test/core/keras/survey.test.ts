import * as tf from '@tensorflow/tfjs';
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {loadKerasModel} from 'tfjs-lora';
import 'tfjs-lora/transformers';
import {numbers} from '../../helpers';
import {artifactsOf, computedByKeras, CONVERTED, handlerOf} from './converted';

const page = readFileSync(join(__dirname, '../../../docs/measurements.md'), 'utf8');
const rows = [...page.matchAll(/^\| ([\d., ]+) \| `\.(\w+)` \| (\w+) \| (.+) \| (.+) \|$/gm)].flatMap(
  ([, versions = '', form, model, ofTfjs = '', ofKeras = '']) =>
    versions.split(', ').map(version => ({name: `keras-${version}-${form}-${model}`, ofTfjs, ofKeras})),
);

test('the table of the docs has a row for each model of the fixtures', () => {
  expect(rows.map(({name}) => name).sort()).toEqual([...CONVERTED].sort());
});

describe.each(rows)('$name', ({name, ofTfjs, ofKeras}) => {
  test.each([
    ['tf.loadLayersModel', ofTfjs, tf.loadLayersModel],
    ['loadKerasModel', ofKeras, loadKerasModel],
  ] as const)('%s: %s', async (_, told, load) => {
    const loading = load(handlerOf(artifactsOf(name)));
    if (told !== 'loads') {
      await expect(loading).rejects.toThrow(told.replaceAll('`', '').trim());
      return;
    }
    const model = await loading;
    const {inputs, outputs} = computedByKeras(name);
    const found = [model.predict(inputs)].flat();
    expect(found.map(({shape}) => shape)).toEqual(outputs.map(({shape}) => shape));
    found.forEach((tensor, i) => {
      const expected = outputs[i]!.values;
      numbers(tensor).forEach((value, j) => expect(Math.abs(value - expected[j]!)).toBeLessThan(2e-6));
    });
  });
});
