import {readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  checkpoint,
  disposeModel,
  fileHandler,
  loadAdapter,
  loadKerasModel,
  resume,
  saveAdapter,
} from 'tfjs-lora';
import {encodeSounds, readSound} from 'tfjs-lora/sound';
import {temporaryFolder} from './temporaryFolder';
import {wav} from './extensions/sound/clips';
import {random, useBackend, withoutLeaks} from './helpers';

// Every loader and writer takes the forms of a place that make sense for it.

let folder: string;
const at = (name: string) => join(folder, name);

beforeEach(async () => {
  await useBackend('cpu');
  folder = temporaryFolder('tfjs-lora places ');
});

const network = () => tf.sequential({layers: [tf.layers.dense({name: 'd', units: 2, inputShape: [3]})]});

test('adapters are saved at URL objects, whose escapes are read', async () => {
  const [base, url] = [network(), pathToFileURL(at('an adapter.safetensors'))];
  const model = applyLoRA(base, {rank: 2});
  expect(url.href).toContain('%20');
  await saveAdapter(model, url);
  (await loadAdapter(url)).dispose();
  await saveAdapter(model, pathToFileURL(at('a folder')), {format: 'peft'});
  expect(readdirSync(folder).sort()).toEqual(['a folder', 'an adapter.safetensors']);
});

test('checkpoints are saved at URL objects, with their number, and at those of a function', async () => {
  const [base, xs, ys] = [network(), random([4, 3], 1), random([4, 2], 2)];
  const model = applyLoRA(base, {rank: 2});
  model.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
  const place = pathToFileURL(at('run'));
  await model.fit(xs, ys, {epochs: 2, verbose: 0, shuffle: false, callbacks: [checkpoint(place)]});
  expect(readdirSync(folder).sort()).toEqual(['run-0', 'run-1']);
  expect(await resume(model, place)).toMatchObject({initialEpoch: 2});
  expect(await resume(model, slot => pathToFileURL(at(`run-${slot}`)))).toMatchObject({initialEpoch: 2});
});

test('loadKerasModel reads a URL object, and the files that a page lets pick', async () => {
  await withoutLeaks(async () => {
    const model = network();
    const weights = model.getWeights().map(weight => weight.dataSync());
    await model.save(fileHandler(at('model')));
    const names = readdirSync(at('model'));
    const file = (name: string) => new File([readFileSync(join(at('model'), name))], name);
    const files = names.map(file).reverse();
    const [byURL, byFiles] = [
      await loadKerasModel(pathToFileURL(join(at('model'), 'model.json'))),
      await loadKerasModel(files),
    ];
    for (const loaded of [byURL, byFiles]) {
      expect(loaded.getWeights().map(weight => weight.dataSync())).toEqual(weights);
      disposeModel(loaded);
    }
    const [json, others] = [
      files.filter(({name}) => name === 'model.json'),
      files.filter(({name}) => name !== 'model.json'),
    ];
    await expect(loadKerasModel(json)).rejects.toThrow(
      `The weights in "${others[0]!.name}" are missing. Pick it together with model.json.`,
    );
    await expect(loadKerasModel(others)).rejects.toThrow(
      'The files must be model.json and those of its weights, got w',
    );
    await expect(loadKerasModel([])).rejects.toThrow(
      'The files must be model.json and those of its weights, got none.',
    );
    disposeModel(model);
  });
});

test('sounds are read by their paths and URLs', async () => {
  const samples = Int16Array.from({length: 800}, (_, i) => 1000 * Math.sin(i / 5));
  writeFileSync(at('a sound.wav'), wav({data: new Uint8Array(samples.buffer)}));
  const [path, url] = [at('a sound.wav'), pathToFileURL(at('a sound.wav'))];
  const expected = await readSound(readFileSync(path));
  expect(expected).toMatchObject({sampleRate: 16000});
  expect(await readSound(path)).toEqual(expected);
  expect(await readSound(url)).toEqual(expected);
  const model = network();
  const preprocessor = {feature_extractor_type: 'Wav2Vec2FeatureExtractor', sampling_rate: 16000, do_normalize: true};
  const {features} = await encodeSounds(model, [path, url], {preprocessor});
  expect(features.shape).toEqual([2, 800]);
  await expect(readSound(at('none.wav'))).rejects.toThrow('none.wav');
  const signal = AbortSignal.abort();
  await expect(readSound(path, 'The sound', {signal})).rejects.toMatchObject({code: 'ERR_ABORTED'});
});
