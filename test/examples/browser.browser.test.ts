import * as tf from '@tensorflow/tfjs';
import {loadAdapter} from 'tfjs-lora';
import {numbers, useBackend} from '../helpers';
import {describeInBrowser, expectWorkerComputes, stopAtFirstStep} from './site';
import {testsOfEveryPage, visitPage} from './visit';

jest.setTimeout(240_000);

describeInBrowser('the page that teaches a digit reader', () => {
  const visit = visitPage('browser');
  let seen: number[];
  let file: Buffer;

  const EXAMPLE = [5, 6, 7, 8, 9].map(digit => `${digit} (45)`);
  const heads = () => visit.texts('.class h3');
  const best = (chances: readonly number[]) => chances.indexOf(Math.max(...chances));

  /** How likely each class is, of a model, once the page shows the same twice. */
  async function chances(model: 'base' | 'adapted'): Promise<number[]> {
    const read = () => visit.page.$$eval(`#${model} meter`, all => all.map(meter => (meter as HTMLMeterElement).value));
    let [former, shown]: number[][] = [[], await read()];
    while (former!.join() !== shown!.join()) {
      await visit.page.waitForTimeout(300);
      [former, shown] = [shown!, await read()];
    }
    return shown!;
  }

  /** Draws an upright stroke with a finger. */
  async function drawStroke(): Promise<void> {
    const {page} = visit;
    const session = await page.context().newCDPSession(page);
    await page.locator('#pad').scrollIntoViewIfNeeded();
    const {x, y, width} = (await page.locator('#pad').boundingBox())!;
    const touch = (type: 'touchStart' | 'touchMove' | 'touchEnd', share?: number) =>
      session.send('Input.dispatchTouchEvent', {
        type,
        touchPoints: share === undefined ? [] : [{x: x + width / 2, y: y + width * share}],
      });
    const scrolled = await page.evaluate(() => scrollY);
    await touch('touchStart', 0.8);
    for (const share of [0.6, 0.4, 0.2]) {
      await touch('touchMove', share);
    }
    await touch('touchEnd');
    expect(await page.evaluate(() => scrollY)).toBe(scrolled);
  }

  test('opens with images of 5–9, of which the base knows none, ready to train', async () => {
    expect(await heads()).toEqual(EXAMPLE);
    expect(await visit.page.textContent('#try-note')).toBe('This 5 is not used for training.');
    expect(best(await chances('base'))).toBe(3);
    expect(await visit.page.isEnabled('#learn')).toBe(true);
    expect(await visit.page.isDisabled('#save')).toBe(true);
    expect(await visit.page.textContent('#loss')).toContain('drawn during training');
  });

  test('adds what is drawn with a finger to a class, which does not scroll, and undoes that', async () => {
    const {page} = visit;
    await page.fill('#class-name', 'stroke');
    await page.press('#class-name', 'Enter');
    await visit.says('Added the class stroke');
    expect(await page.textContent('#missing')).toMatch(/Too few: stroke\.$/);
    await page.click('#clear-pad');
    await page.click('[aria-label="Add drawing stroke"]');
    await visit.says('Draw a symbol first');
    await drawStroke();
    expect(best(await chances('base'))).toBe(1);
    await page.click('[aria-label="Add drawing stroke"]');
    await visit.says('stroke has 1 image');
    await visit.undo('images added to stroke');
    await visit.undo('class added');
    await page.click('#clear');
    await visit.says('All classes are removed');
    expect(await page.textContent('#missing')).toBe('Training needs at least two classes.');
    await page.keyboard.press('Control+z');
    await visit.says('Undone');
    expect(await heads()).toEqual(EXAMPLE);
  });

  test('finds a learning rate, and sets the field', async () => {
    await visit.press('#find-rate', 'Space');
    await visit.says('The loss falls fastest at');
    const rate = Number(await visit.page.inputValue('#rate'));
    expect(rate).toBeGreaterThan(1e-4);
    expect(rate).toBeLessThan(0.2);
    expect(await visit.page.isVisible('#rates')).toBe(true);
    await visit.type('#rate', '0.008');
  });

  test('learns the digits on wasm, offline, in its worker', async () => {
    const {page} = visit;
    await page.context().setOffline(true);
    await visit.press('#learn');
    await visit.says('Trained');
    await page.context().setOffline(false);
    await expectWorkerComputes(page);
    const [accuracy, parameters] = await visit.texts('#results td');
    expect(parseFloat(accuracy!)).toBeGreaterThan(80);
    // Factors of 9×16, 144×32 and 800×64 at rank 8, and the head of 64×5.
    expect(parameters).toBe((8 * (9 + 16 + 144 + 32 + 800 + 64) + 325).toLocaleString('en'));
    expect(await page.textContent('#status')).toMatch(/^Trained\. Accuracy on 75 held-out images: [\d.]+ % \(/);
    await page.click('#unseen');
    seen = await chances('adapted');
    expect(best(seen)).toBe(1); // it is a 6
  });

  testsOfEveryPage(visit, async () => {
    await visit.choose('letter.safetensors', 'Dear page,');
    await visit.says('letter.safetensors: ');
  });

  test('scales the adapter', async () => {
    await visit.page.fill('#strength', '0.2');
    expect(await chances('adapted')).not.toEqual(seen);
    await visit.page.fill('#strength', '1');
    expect(await chances('adapted')).toEqual(seen);
  });

  test('has all of it again after a reload, and the adapter as a file', async () => {
    file = (await visit.files('#save')).get('digits.safetensors')!;
    await useBackend('cpu');
    const adapter = await loadAdapter(new Uint8Array(file));
    expect(Object.keys(adapter.config.layers).sort()).toEqual(['conv_1', 'conv_2', 'features']);
    adapter.dispose();
    await visit.page.locator('#kept', {hasText: 'This browser keeps what you add'}).waitFor();
    await visit.reload('Ready. Your previous adapter is restored');
    await visit.page.click('#unseen');
    expect(await chances('adapted')).toEqual(seen);
  });

  test('downloads a merged model that plain tfjs loads and that computes the same', async () => {
    const files = await visit.files('#save-model', 2);
    const {modelTopology, weightsManifest} = JSON.parse(files.get('digits.json')!.toString()) as tf.io.ModelJSON;
    expect(weightsManifest.map(({paths}) => paths)).toEqual([['./digits.weights.bin']]);
    await useBackend('cpu');
    const weightData = new Uint8Array(files.get('digits.weights.bin')!).buffer;
    const weightSpecs = weightsManifest[0]!.weights;
    const model = await tf.loadLayersModel(tf.io.fromMemory({modelTopology, weightSpecs, weightData}));
    expect(numbers(model.predict(await firstHeldOut(1)) as tf.Tensor)).toBeAllClose(seen, {rtol: 1e-4, atol: 1e-5});
  });

  /** The first image of a new digit that the page holds out: see pretrain.ts. */
  async function firstHeldOut(digit: number): Promise<tf.Tensor> {
    const bytes = await visit.page.evaluate(async () => {
      const {body} = await fetch('samples.bin');
      const unpacked = new Response(body!.pipeThrough(new DecompressionStream('deflate')));
      return [...new Uint8Array(await unpacked.arrayBuffer())];
    });
    const from = (digit * 140 + 100) * 28 * 28;
    return tf.div(tf.tensor4d(bytes.slice(from, from + 28 * 28), [1, 28, 28, 1]), 255);
  }

  test('stops during training, and undoes that', async () => {
    await visit.page.fill('#epochs', '100');
    await stopAtFirstStep(visit.page);
    await visit.page.click('#learn');
    await visit.says('Stopped');
    expect(await visit.page.isVisible('#results')).toBe(true);
    await visit.undo('training');
    expect(await visit.page.isVisible('#results')).toBe(false);
    expect(await visit.page.textContent('#loss')).toContain('drawn during training');
    expect(await chances('adapted')).toEqual(seen);
  });

  test('opens an adapter, and moves it to webgl', async () => {
    await visit.press('#forget');
    await visit.says('Adapter removed');
    expect(await chances('adapted')).toEqual([0, 0, 0, 0, 0]);
    await visit.choose('own.safetensors', file);
    await visit.says('Opened own.safetensors');
    expect(await chances('adapted')).toEqual(seen);
    await visit.page.selectOption('#backend', 'webgl');
    await visit.says('Ready');
    expect(await chances('adapted')).toBeAllClose(seen, {rtol: 1e-3, atol: 1e-4});
  });
});
