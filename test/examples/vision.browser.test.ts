import {copyFileSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {Resvg} from '@resvg/resvg-js';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, loadAdapter} from 'tfjs-lora';
import {encodeImages} from 'tfjs-lora/images';
import {loadTransformer} from 'tfjs-lora/transformers';
import {choose, DRAWINGS, KINDS} from '../../examples/vision/data';
import {
  type BaseFiles,
  calibrate,
  configOf,
  edgeOf,
  guesses,
  hubFiles,
  joined,
  learn,
  likeliest,
  nearestClasses,
  openBase,
  rowsOf,
  see,
  temperatureOf,
} from '../../examples/vision/learn';
import {accuracyText} from '../../examples/shared/page/results';
import {numbers, random, useBackend, withoutLeaks} from '../helpers';
import {temporaryFolder} from '../temporaryFolder';
import {describeInBrowser, expectWorkerComputes, stopAtFirstStep} from './site';
import {testsOfEveryPage, visitPage} from './visit';

jest.setTimeout(240_000);

/** A tiny model in place of the real one. */
const TINY = 'test/fixtures/transformers/dinov2';
const PREPROCESSOR = {
  image_processor_type: 'BitImageProcessor',
  size: {shortest_edge: 256},
  crop_size: 224,
  image_mean: [0.485, 0.456, 0.406],
  image_std: [0.229, 0.224, 0.225],
};

function tinyFiles(): BaseFiles {
  return {
    config: JSON.parse(readFileSync(join(TINY, 'config.json'), 'utf8')) as BaseFiles['config'],
    preprocessor: PREPROCESSOR,
    weights: new Uint8Array(readFileSync(join(TINY, 'model.safetensors'))),
  };
}

test.each([1, 2, 3])('seed %i learns from ten drawings of each kind, and is measured by twelve others', seed => {
  const {train, test: others} = choose({train: 10, test: 12}, seed);
  const counts = (drawings: number[]) =>
    KINDS.map((_, kind) => drawings.filter(i => DRAWINGS[i]!.label === kind).length);
  expect(counts(train)).toEqual(KINDS.map(() => 10));
  expect(counts(others)).toEqual(KINDS.map(() => 12));
  expect(new Set([...train, ...others]).size).toBe(DRAWINGS.length);
});

test('seeds choose other drawings', () => {
  const [one, other] = [1, 2].map(seed => choose({train: 10, test: 12}, seed).train.sort((a, b) => a - b));
  expect(one).not.toEqual(other);
});

test('the nearest class is that whose pictures lie in the nearest direction, however long they are', async () => {
  await useBackend('cpu');
  const seen = (rows: number[][]) => ({'classifier/input': tf.tensor2d(rows)});
  // The means of directions are (1, 0) and, of (0, 1) and (0.6, 0.8), (0.3, 0.9) before it is made as long as 1.
  const own = seen([[9, 0], [0, 1], [3, 4]]); // prettier-ignore
  const others = seen([[5, 0.1], [0.1, 5], [0.2, 0.13], [0.2, 0.15]]); // prettier-ignore
  // Of (0.2, 0.13) the cosines are 0.838 and 0.783, of (0.2, 0.15) 0.8 and 0.822.
  expect(nearestClasses(own, [0, 1, 1], others)).toEqual([0, 1, 0, 1]);
});

test('a temperature makes probabilities as certain as held-out images justify', () => {
  // Two classes whose logits differ by d are found with 1 / (1 + exp(−d / T)). The target is (n + 1) / (n + 2).
  const logits = (differences: number[]) => differences.map(difference => [difference, 0]);
  // All correct: 11 / 12, so that exp(d / T) = 11.
  expect(
    temperatureOf(
      logits(Array.from({length: 10}, () => 8)),
      Array.from({length: 10}, () => 0),
    ),
  ).toBeCloseTo(8 / Math.log(11), 4);
  // One of four is wrong with the same certainty: of 5 / 6, 5 / 6, 5 / 6 and 1 / 6 the mean is 2 / 3.
  expect(temperatureOf(logits([3, 3, 3, 3]), [0, 0, 0, 1])).toBeCloseTo(3 / Math.log(2), 4);
  // As many wrong as correct: no certainty at all, and the highest temperature.
  expect(temperatureOf(logits([3, 3]), [0, 1])).toBeCloseTo(100, 1);
});

describe('a tiny DINOv2', () => {
  beforeAll(() => useBackend('wasm'));

  /** Pictures of its size. */
  const pictures = (count: number, seed: number) => random<tf.Rank.R4>([count, 24, 24, 3], seed);

  test.each(['probe', 'lora', 'full'] as const)(
    'learns by way of %s with what was seen once, and then says of pictures what it says of what was seen',
    async way => {
      await withoutLeaks(async () => {
        const files = tinyFiles();
        expect(edgeOf(files)).toBe(24);
        const base = await openBase(files, 3);
        const pixels = pictures(12, 5);
        const labels = Array.from({length: 12}, (_, i) => i % 3);
        const whole = await see(base, pixels);
        // Parts that are joined are the whole.
        const parts = [rowsOf(whole, [0, 1, 2, 3, 4]), rowsOf(whole, [5, 6, 7, 8, 9, 10, 11])];
        const seen = joined(parts);
        Object.entries(whole).forEach(([name, values]) => expect(numbers(seen[name]!)).toEqual(numbers(values)));

        const model = applyLoRA(base, configOf(base, way, 1));
        const frozen = base.getWeights().map(numbers);
        const losses: number[] = [];
        await learn(model, seen, labels, {
          rate: way === 'probe' ? 0.1 : 1e-2,
          epochs: 40,
          seed: 1,
          onStep: (_, steps, loss) => {
            expect(steps).toBe(80);
            return losses.push(loss) > 0;
          },
        });
        // A head of zeros finds three classes as likely.
        expect(losses[0]).toBeCloseTo(Math.log(3), 5);
        expect(losses.at(-1)).toBeLessThan(0.8 * losses[0]!);
        expect(base.getWeights().map(numbers)).toEqual(frozen);
        const own = guesses(model, seen);
        const again = likeliest(() => model.predict(pixels) as tf.Tensor);
        expect(own.map(({label}) => label)).toEqual(again.map(({label}) => label));
        expect(own.map(({chance}) => chance)).toBeAllClose(
          again.map(({chance}) => chance),
          {atol: 1e-5},
        );
        // Calibrated by half of the images, the logits of all are divided by one number.
        const temperature = calibrate(model, parts[1]!, labels.slice(5));
        const ratio = (chance: number) => Math.log(chance / (1 - chance));
        const colder = guesses(model, seen);
        expect(colder.map(({label}) => label)).toEqual(own.map(({label}) => label));
        expect(temperature).toBeGreaterThan(0.1);
        expect(colder.every(({chance}, i) => chance < own[i]!.chance === temperature > 1)).toBe(true);
        expect(ratio(colder[0]!.chance)).not.toBe(ratio(own[0]!.chance));
        [model, base].forEach(disposeModel);
        tf.dispose([whole, ...parts, seen, pixels] as tf.TensorContainer);
      });
    },
  );

  test('it shows how many images it has seen, and a training that is stopped ends with the step', async () => {
    await withoutLeaks(async () => {
      const base = await openBase(tinyFiles(), 2);
      const pixels = pictures(24, 6);
      const done: number[] = [];
      const seen = await see(base, pixels, (count, total) => {
        expect(total).toBe(24);
        done.push(count);
      });
      expect(done).toEqual([10, 20, 24]);
      const model = applyLoRA(base, configOf(base, 'lora', 1));
      let steps = 0;
      const labels = Array.from({length: 24}, (_, i) => i % 2);
      await learn(model, seen, labels, {rate: 1e-3, epochs: 9, seed: 1, onStep: () => ++steps < 4});
      expect(steps).toBe(4);
      [model, base].forEach(disposeModel);
      tf.dispose([seen, pixels] as tf.TensorContainer);
    });
  });

  test('what it has learned is a model of the hub with names for its classes, rounded to 16 bits', async () => {
    const files = tinyFiles();
    const base = await openBase(files, 2);
    const pixels = pictures(6, 7);
    const seen = await see(base, pixels);
    const model = applyLoRA(base, configOf(base, 'lora', 1));
    await learn(model, seen, [0, 1, 0, 1, 0, 1], {rate: 1e-2, epochs: 20, seed: 1});
    const written = await hubFiles(model, files, ['cats', 'dogs']);
    const config = JSON.parse(written['config.json'] as string) as Record<string, unknown>;
    expect(config).toMatchObject({
      architectures: ['Dinov2ForImageClassification'],
      id2label: {0: 'cats', 1: 'dogs'},
      label2id: {cats: 0, dogs: 1},
    });
    const {model: loaded} = await loadTransformer({config, weights: written['model.safetensors'] as Uint8Array});
    const [own, again] = [model, loaded].map(each => numbers(each.predict(pixels) as tf.Tensor));
    expect(again).toBeAllClose(own!, {atol: 1e-2 * Math.max(...own!.map(Math.abs))});
    expect(JSON.parse(written['preprocessor_config.json'] as string)).toEqual({
      ...PREPROCESSOR,
      size: {height: 24, width: 24},
      do_center_crop: false,
    });
  });
});

/** A picture of one color, as a file. */
function square(color: string): {name: string; mimeType: string; buffer: Buffer} {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="48" height="48"><rect width="48" height="48" fill="${color}"/></svg>`;
  return {name: `${color}.png`, mimeType: 'image/png', buffer: new Resvg(svg).render().asPng()};
}

const WARM = ['#ff0000', '#ee2200', '#dd0022', '#ff3311', '#cc1100'].map(square);
const COLD = ['#0000ff', '#0022ee', '#2200dd', '#1133ff', '#0011cc'].map(square);
const TO_TRY = ['#f01010', '#1010f0', '#e80018'];

describeInBrowser('the page that teaches a vision transformer', () => {
  const models = temporaryFolder();
  ['config.json', 'model.safetensors'].forEach(file => copyFileSync(join(TINY, file), join(models, file)));
  writeFileSync(join(models, 'preprocessor_config.json'), JSON.stringify(PREPROCESSOR));
  const visit = visitPage('vision', {ready: 'Ready: 0.0 million parameters', models});

  const titles = () => visit.texts('.class h3');
  /** What is said of pictures to try. */
  const said = async (when: 'before' | 'after') =>
    (await visit.texts(`#tests .${when}`)).map(text => text.replace(/^\w+: /, ''));
  const afterNames = async () => (await said('after')).map(text => text.replace(/, [\d.]+ %(, unsure)?$/, ''));

  test('it opens with emoji and is ready to train', async () => {
    expect(await visit.page.textContent('.lead')).toContain('images stay in the tab');
    expect(await titles()).toEqual(KINDS.map(name => `${name} (15)`));
    expect(await visit.page.locator('.class .held').count()).toBe(5 * 5);
    expect(await visit.page.locator('#tests li').count()).toBe(4 * 5);
    expect(await visit.page.isEnabled('#learn')).toBe(true);
    expect(await visit.page.isDisabled('#undo')).toBe(true);
    await visit.page
      .locator('#tests .before', {hasText: new RegExp(KINDS.join('|'))})
      .nth(19)
      .waitFor();
    expect(new Set(await said('after'))).toEqual(new Set(['–']));
  });

  test('it marks what it gets wrong, and where it is unsure', async () => {
    await visit.type('#epochs', '1');
    await visit.press('#learn');
    await visit.says('Trained in');
    const truth = KINDS.flatMap(name => Array.from({length: 4}, () => name));
    const [before, after] = [await said('before'), await said('after')];
    const names = await afterNames();
    const count = (all: string[]) => all.filter((name, i) => name === truth[i]).length;
    expect(await visit.page.textContent('#moved')).toContain(
      `Accuracy on the 20 images whose class is known: ${accuracyText(count(before), 20)} before training, ` +
        `${accuracyText(count(names), 20)} after.`,
    );
    const items = await visit.page.$$eval('#tests li', all =>
      all.map(item => [item.classList.contains('wrong'), item.querySelector('.verdict')?.textContent ?? '']),
    );
    const isWrong = names.map((name, i) => name !== truth[i]);
    expect(items).toEqual(isWrong.map((wrong, i) => [wrong, wrong ? `✗ wrong: ${truth[i]}` : '']));
    expect(isWrong).toContain(true); // a tiny model with random weights
    after.forEach(text => expect(text.endsWith(', unsure')).toBe(parseFloat(/, ([\d.]+) %/.exec(text)![1]!) < 60));
    // Of those that are held out too.
    const wrong = await visit.page.$$eval('.class .wrong', all => all.map(({ariaLabel}) => ariaLabel));
    const [, right] =
      /Accuracy on 25 held-out images: [\d.]+ % \(\d+ to \d+\) before training, ([\d.]+) % \(\d+ to \d+\) after/.exec(
        (await visit.page.textContent('#status'))!,
      )!;
    expect(wrong).toHaveLength(25 - parseFloat(right!) / 4);
    wrong.forEach(label =>
      expect(label).toMatch(/^Remove image (3|6|9|12|15) of \w+, which is held out and was classified as \w+$/),
    );
  });

  testsOfEveryPage(visit, async () => {
    await visit.choose('letter.safetensors', 'Dear page,');
    await visit.says('letter.safetensors: ');
  });

  test('once the training is undone, nothing is marked', async () => {
    await visit.undo('training');
    expect(await visit.page.locator('.wrong').count()).toBe(0);
  });

  test('the example can be removed and restored', async () => {
    await visit.page.click('#clear');
    await visit.says('Removed');
    expect(await titles()).toEqual([]);
    expect(await visit.page.textContent('#missing')).toBe('Training needs at least two classes.');
    await visit.page.click('#example');
    await visit.says('The example is restored');
    expect(await titles()).toEqual(KINDS.map(name => `${name} (15)`));
    await visit.undo('example restored');
    expect(await titles()).toEqual([]);
  });

  test('classes are added by keys, and get pictures from files and from what is dropped on them', async () => {
    await visit.page.focus('#class-name');
    await visit.page.keyboard.type('warm');
    await visit.page.keyboard.press('Enter');
    await visit.says('Added the class warm');
    await visit.page.fill('#class-name', 'warm');
    await visit.page.press('#class-name', 'Enter');
    await visit.says('The class warm exists already');
    await visit.page.fill('#class-name', 'cold');
    await visit.page.tap('#add-class');
    await visit.says('Added the class cold');
    await visit.page.setInputFiles('[aria-label="Add images to warm"]', WARM);
    await visit.says('warm has 5 images');
    expect(await visit.page.textContent('#missing')).toBe(
      'Each class needs at least 3 images (10 or more are better). Too few: cold.',
    );
    expect(await visit.page.isDisabled('#learn')).toBe(true);
    await visit.page.locator('.class[aria-label="cold"]').evaluate(
      (card, files) => {
        const transfer = new DataTransfer();
        for (const {name, mimeType, text} of files) {
          const bytes = Uint8Array.from(atob(text), sign => sign.charCodeAt(0));
          transfer.items.add(new File([bytes], name, {type: mimeType}));
        }
        card.dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));
      },
      COLD.map(({buffer, ...rest}) => ({...rest, text: buffer.toString('base64')})),
    );
    await visit.says('cold has 5 images');
    expect(await titles()).toEqual(['warm (5)', 'cold (5)']);
    expect(await visit.page.locator('#tests li').count()).toBe(0);
  });

  test('pictures and classes are removed and brought back', async () => {
    await visit.press('[aria-label="Remove image 1 of warm"]', 'ArrowRight'); // the images are one stop of Tab
    await visit.page.keyboard.press('Enter');
    await visit.says('Removed');
    expect(await visit.page.evaluate(() => document.activeElement?.ariaLabel)).toBe('Remove image 2 of warm');
    expect(await titles()).toEqual(['warm (4)', 'cold (5)']);
    await visit.page.click('[aria-label="Remove cold"]');
    await visit.says('Removed cold');
    expect(await titles()).toEqual(['warm (4)']);
    await visit.page.keyboard.press('Control+z');
    await visit.says('Undone');
    await visit.page.keyboard.press('Control+z');
    await visit.page.locator('.class h3', {hasText: 'warm (5)'}).waitFor();
    expect(await titles()).toEqual(['warm (5)', 'cold (5)']);
  });

  test('a file that is no picture is refused, and nothing has changed', async () => {
    await visit.choose('letter.png', 'Dear page,');
    await visit.says('letter.png is not an image');
    await visit.choose('letter.safetensors', 'Dear page,');
    await visit.says('letter.safetensors: ');
    expect(await visit.page.locator('#tests li').count()).toBe(0);
    expect(await visit.page.isDisabled('#forget')).toBe(true);
  });

  test('it trains, and shows the accuracy on held-out images and which images change class', async () => {
    await visit.page.setInputFiles('#files', TO_TRY.map(square));
    await visit.says('Added');
    const before = await said('before');
    before.forEach(name => expect(['warm', 'cold']).toContain(name));
    expect(await visit.page.textContent('#moved')).toBe('');
    await visit.type('#epochs', '40');
    await visit.press('#learn');
    await visit.says('Trained in');
    expect(await visit.page.textContent('#status')).toMatch(
      /Accuracy on 2 held-out images: [\d.]+ % \(\d+ to \d+\) before training, 100 % \(34 to 100\) after\.$/,
    );
    expect(await afterNames()).toEqual(['warm', 'cold', 'warm']);
    const moved = ['warm', 'cold', 'warm'].filter((name, i) => name !== before[i]).length;
    expect(await visit.page.textContent('#moved')).toBe(`${moved} of 3 changed class.`);
    expect(await visit.page.locator('#tests li.moved').count()).toBe(moved);
  });

  test('the worker computes, and not the page', () => expectWorkerComputes(visit.page));

  let file: Buffer;

  test('adapter and model are files, and this library says of pictures by the model what the page says', async () => {
    file = (await visit.files('#save')).get('vision.safetensors')!;
    const files = await visit.files('#save-model', 3);
    expect([...files.keys()].sort()).toEqual(['config.json', 'model.safetensors', 'preprocessor_config.json']);
    await useBackend('wasm');
    const adapter = await loadAdapter(new Uint8Array(file));
    expect(Object.keys(adapter.tensors)).toContain('classifier/bias');
    const text = (name: string) => files.get(name)!.toString();
    const {model: loaded} = await loadTransformer({
      config: text('config.json'),
      weights: new Uint8Array(files.get('model.safetensors')!),
      preprocessor: text('preprocessor_config.json'),
    });
    const pixels = await encodeImages(
      loaded,
      TO_TRY.map(color => {
        const channels = [1, 3, 5].map(at => parseInt(color.slice(at, at + 2), 16));
        return {data: Uint8Array.from({length: 48 * 48 * 3}, (_, i) => channels[i % 3]!), width: 48, height: 48};
      }),
    );
    const own = likeliest(() => loaded.predict(pixels) as tf.Tensor);
    expect(own.map(({label}) => ['warm', 'cold'][label])).toEqual(['warm', 'cold', 'warm']);
    const chances = (await said('after')).map(each => Number(/([\d.]+) %/.exec(each)![1]));
    expect(chances).toBeAllClose(own.map(({chance}) => 100 * chance), {atol: 1}); // prettier-ignore
  });

  test('what it learned is forgotten, brought back, and opened from its file', async () => {
    const learned = await said('after');
    await visit.press('#forget');
    await visit.says('Adapter removed');
    expect(await said('after')).toEqual(['–', '–', '–']);
    await visit.undo('adapter forgotten');
    expect(await said('after')).toEqual(learned);
    await visit.press('#forget');
    await visit.says('Adapter removed');
    await visit.choose('mine.safetensors', file);
    await visit.says('Opened mine.safetensors: 2 classes, ');
    expect(await said('after')).toEqual(learned);
  });

  test('a training is stopped, and keeps what it learned so far', async () => {
    await visit.page.fill('#epochs', '40');
    await stopAtFirstStep(visit.page);
    await visit.page.click('#learn');
    await visit.says('Stopped after');
    await visit.undo('training');
    expect(await afterNames()).toEqual(['warm', 'cold', 'warm']);
  });

  test('after a reload what it learned is here again with the names of its classes, and no picture', async () => {
    await visit.page.reload();
    await visit.says('Ready: .* Your previous adapter is restored');
    expect(await titles()).toEqual(['warm (0)', 'cold (0)']);
    expect(await visit.page.isDisabled('#learn')).toBe(true);
    await visit.page.setInputFiles('#files', TO_TRY.map(square));
    await visit.says('Added');
    expect(await said('before')).toEqual(['–', '–', '–']);
    expect(await afterNames()).toEqual(['warm', 'cold', 'warm']);
    await visit.page.click('#example');
    await visit.says('The example is restored');
  });
});
