import * as tf from '@tensorflow/tfjs';
import {disposeModel, loadAdapter} from 'tfjs-lora';
import {loadTransformer, type Pooling} from 'tfjs-lora/transformers';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {encodeSafetensors, type NamedValues} from '../../../src/platform/formats/encodeSafetensors';
import {useBackend, withoutLeaks} from '../../helpers';
import {reloaded} from '../../models';
import {fixture} from './fixtures';

beforeAll(() => useBackend('cpu'));

// A MobileBERT whose config switches off two kinds of its layers, and an adapter by PEFT with all linear modules.

const {config, weights, adapter: files} = fixture('mobilebertUnused');
const SWITCHED_OFF = 'embeddings.embedding_transformation, encoder.layer.0.bottleneck.attention.dense';
const WARNING = 'The adapter changes modules that the model does not compute with. They are left out: ';

/** The paths that the adapter of the files has in a model, and the warnings. */
async function importedInto(model: tf.LayersModel, adapterFiles = files) {
  const warn = jest.spyOn(console, 'warn').mockImplementation();
  try {
    const adapter = await loadAdapter(adapterFiles, {model});
    adapter.dispose();
    return {paths: Object.keys(adapter.config.layers), warnings: warn.mock.calls.flat()};
  } finally {
    warn.mockRestore();
  }
}

const loaded = async (pooling: Pooling = 'none') => (await loadTransformer({config, weights, pooling})).model;

/** The files of the adapter with the tensors that `rename` gives a name. */
function renamed(rename: (name: string) => string | undefined) {
  const tensors: Record<string, NamedValues> = {};
  for (const [name, {shape, data}] of decodeSafetensors(files.weights).tensors) {
    const other = rename(name);
    if (other !== undefined) {
      tensors[other] = {shape, data: data!};
    }
  }
  return {...files, weights: encodeSafetensors(tensors)};
}

test('modules that a model does not compute with are left out of an adapter, which a warning says', async () => {
  await withoutLeaks(async () => {
    const model = await loaded();
    const {paths, warnings} = await importedInto(model);
    expect(warnings).toEqual([`${WARNING}${SWITCHED_OFF}, pooler.dense.`]);
    expect(paths).toHaveLength(14); // of 17 linear modules
    expect(paths).toContain('encoder/layer/0/bottleneck/input/dense');
    disposeModel(model);
  });
});

test('a saved and loaded model knows them too', async () => {
  const model = await loaded();
  const again = await reloaded(model);
  expect(await importedInto(again)).toEqual(await importedInto(model));
});

test('a pooler that the model computes with is not among them', async () => {
  const model = await loaded('pooler');
  const {paths, warnings} = await importedInto(model);
  expect(warnings).toEqual([`${WARNING}${SWITCHED_OFF}.`]);
  expect(paths).toContain('pooler/dense');
});

test('modules that the class does not have are still refused', async () => {
  const model = await loaded();
  const others = renamed(name => name.replace('pooler.dense', 'pooler.other'));
  await withoutLeaks(() =>
    expect(importedInto(model, others)).rejects.toThrow('pooler.other: there is no such layer.'),
  );
});

test('an adapter for nothing else is refused', async () => {
  const model = await loaded();
  const pooler = renamed(name => (name.includes('pooler') ? name : undefined));
  await withoutLeaks(() =>
    expect(importedInto(model, pooler)).rejects.toThrow(
      'The adapter changes only modules that the model does not compute with: pooler.dense. Load the model with the ' +
        'class that uses them.',
    ),
  );
});
