import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, fileHandler, mergeLoRA, replaceHead} from 'tfjs-lora';
import {logMel, type Sound} from 'tfjs-lora/sound';
import {encodeWords, loadWordBase, wordFrames} from 'tfjs-lora/words';
import {wordBaseModule} from '../../../scripts/wordBase';
import {numbers, withoutLeaks} from '../../helpers';
import {clip} from '../sound/clips';

const ROOT = join(__dirname, '../../..');

/** Half a second of one of the clips, with silence after it. */
function second(number: number, sampleRate = 16_000): Sound {
  const samples = new Float32Array(sampleRate);
  samples.set(clip(number).samples.subarray(0, sampleRate / 2));
  return {samples, sampleRate};
}

const seconds = Array.from({length: 8}, (_, i) => second(i));

/** The network as it was trained. */
const trained = () => tf.loadLayersModel(fileHandler(join(ROOT, 'examples/sounds/base')));

/** A kernel in steps of a 127th of the largest weight of each output channel, its last axis. */
function inSteps(kernel: tf.Tensor): tf.Tensor {
  const channels = kernel.shape.at(-1)!;
  const values = numbers(kernel);
  const largest = Array<number>(channels).fill(0);
  values.forEach((value, i) => (largest[i % channels] = Math.max(largest[i % channels]!, Math.abs(value))));
  const scales = largest.map(value => Math.fround(value / 127));
  return tf.tensor(
    values.map((value, i) => Math.round(value / scales[i % channels]!) * scales[i % channels]!),
    kernel.shape,
  );
}

test('the base computes what the network of the sounds example computes with weights in 8 bits', async () => {
  const [{model, encode}, expected] = [await loadWordBase(), await trained()];
  expected.setWeights(expected.getWeights().map(weight => (weight.rank === 1 ? weight : inSteps(weight))));
  const xs = encode(seconds);
  expect(numbers(model.predict(xs) as tf.Tensor)).toEqual(numbers(expected.predict(xs) as tf.Tensor));
  expect(model.outputs[0]!.shape).toEqual([null, 96]);
  expect(model.countParams()).toBe(expected.countParams());
});

test('8 bits change embeddings by less than two hundredths of their length', async () => {
  const [{model, encode}, float] = [await loadWordBase(), await trained()];
  const xs = encode(seconds);
  const [ours, theirs] = [model, float].map(each => each.predict(xs) as tf.Tensor);
  const errors = tf.div(tf.norm(tf.sub(ours!, theirs!), 2, 1), tf.norm(theirs!, 2, 1));
  expect(Math.max(...numbers(errors))).toBeLessThan(0.02);
  expect(Math.max(...numbers(errors))).toBeGreaterThan(0);
});

test('the committed data is that of the committed network, in at most 250 kB', () => {
  const data = readFileSync(join(ROOT, 'src/extensions/words/wordBaseData.ts'), 'latin1');
  expect(data === wordBaseModule(ROOT)).toBe(true); // `npx tsx scripts/wordBase.ts` writes it
  expect(data.length).toBeLessThan(250_000);
});

test('each call returns another network of stock layers, which nothing outlives', async () => {
  await withoutLeaks(async () => {
    const [{model}, {model: other}] = [await loadWordBase(), await loadWordBase()];
    expect(model.layers.map(({name}) => name)).toEqual(['conv1', 'conv2', 'conv3', 'conv4', 'flat', 'embedding']);
    expect(model.layers.map(layer => layer.getClassName())).toEqual([
      ...Array<string>(4).fill('Conv2D'),
      ...['Flatten', 'Dense'],
    ]);
    model.dispose();
    tf.tidy(() => void other.predict(tf.zeros([1, 98, 40, 1])));
    other.dispose();
  });
});

test('the base is adapted with a new head, and merged', async () => {
  const {model: base, encode} = await loadWordBase();
  const head = tf.layers.dense({units: 3, activation: 'softmax', name: 'classes'});
  const model = replaceHead(base, [head], {after: 'embedding'});
  const adapted = applyLoRA(model, {rank: 4, exclude: ['conv1', 'classes'], trainInFull: ['classes']});
  const xs = encode(seconds);
  const output = numbers(adapted.predict(xs) as tf.Tensor);
  expect(output).toEqual(numbers(model.predict(xs) as tf.Tensor));
  expect(numbers(mergeLoRA(adapted).predict(xs) as tf.Tensor)).toBeAllClose(output);
  [adapted, model, base].forEach(disposeModel);
});

test('features are (ln(energy) + 7) / 6 of 40 mel energies, at least 1e-6', () => {
  for (const sound of [...seconds, clip(0), clip(9)]) {
    const options = {mels: 40, minFrequency: 60, maxFrequency: 7600, padding: 'none', log: 'none'} as const;
    const energies = logMel(sound, {...options, floor: 1e-30});
    const expected = numbers(energies).map(energy => (Math.log(Math.max(energy, 1e-6)) + 7) / 6);
    const frames = wordFrames(sound);
    expect(frames.shape).toEqual([Math.floor((sound.samples.length - 400) / 160) + 1, 40]);
    expect(numbers(frames)).toBeAllClose(expected, {rtol: 0, atol: 1e-5});
  }
});

test('sounds of one second of any rate have 98 frames each, one after the other', async () => {
  const sounds = [16_000, 22_050, 44_100, 48_000].map((rate, i) => second(i, rate));
  const xs = encodeWords(sounds);
  expect(xs.shape).toEqual([4, 98, 40, 1]);
  const each = tf.unstack(xs);
  sounds.forEach((sound, i) => {
    expect(encodeWords(sound).shape).toEqual([1, 98, 40, 1]);
    expect(numbers(encodeWords(sound))).toEqual(numbers(wordFrames(sound)));
    expect(numbers(each[i]!)).toEqual(numbers(wordFrames(sound)));
  });
  await withoutLeaks(() => {
    tf.dispose([encodeWords(sounds), wordFrames(sounds[0]!)]);
  });
});

test('sounds of another length are refused with what makes them fit', () => {
  const long: Sound = {samples: new Float32Array(24_000), sampleRate: 16_000};
  expect(() => encodeWords(long)).toThrow(
    'the sound lasts 1.5 s, and the base takes sounds of one second. Cut or pad it with centerSound(sound) of ' +
      'tfjs-lora/sound; slidingWindows cuts a longer sound into seconds.',
  );
  const short: Sound = {samples: new Float32Array(4410), sampleRate: 44_100};
  expect(() => encodeWords([seconds[0]!, short])).toThrow('sound 1 lasts 0.1 s');
  const lengths = [15_919, 15_920, 16_079, 16_080].map(length => ({
    samples: new Float32Array(length),
    sampleRate: 16_000,
  }));
  expect(lengths.map(sound => tryOut(() => encodeWords(sound)))).toEqual(['ERR_MISFIT', '', '', 'ERR_MISFIT']);
});

test('what is no sound is refused', () => {
  expect(() => encodeWords([])).toThrow('sounds must have at least one sound, got an empty list.');
  const samples = [0, 0] as unknown as Float32Array;
  expect(() => encodeWords([seconds[0]!, {samples, sampleRate: 16_000}])).toThrow(
    'sound 1 must be {samples, sampleRate} with samples in a Float32Array',
  );
  expect(() => encodeWords(null as unknown as Sound)).toThrow('the sound must be {samples, sampleRate}');
  expect(() => wordFrames({samples: new Float32Array(399), sampleRate: 16_000})).toThrow('a frame needs 400');
});

/** The code of the error of a call, or nothing. */
function tryOut(call: () => tf.Tensor): string {
  try {
    call().dispose();
    return '';
  } catch (error) {
    return (error as {code: string}).code;
  }
}
