import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {augment} from '../../examples/pictures/src/augment';
import {loadAdapter} from '../../src';
import {numbers, useBackend, withoutLeaks} from '../helpers';
import {describeInBrowser} from './site';
import {testsOfEveryPage, visitPage} from './visit';

const PHOTO = join(__dirname, '../../examples/browser/page-light.jpg');

jest.setTimeout(240_000);

test('varied copies follow the images themselves, and are the same each time', async () => {
  await useBackend('cpu');
  await withoutLeaks(() => {
    tf.tidy(() => {
      const images = tf.randomUniform<tf.Rank.R4>([3, 8, 8, 3], 0, 1, 'float32', 1);
      const [once, again] = [augment(images, 2, 1), augment(images, 2, 1)];
      expect(once.shape).toEqual([9, 8, 8, 3]);
      expect(numbers(tf.slice(once, 0, 3))).toEqual(numbers(images));
      expect(numbers(once)).toEqual(numbers(again));
      const copies = [1, 2].map(copy => numbers(tf.slice(once, 3 * copy, 3)));
      expect(copies[0]).not.toEqual(copies[1]);
      copies.flat().forEach(value => expect(value >= 0 && value <= 1).toBe(true));
      // A picture of one colour stays one, and gets up to a fifth lighter or darker.
      const grey = numbers(tf.slice(augment(tf.fill([4, 8, 8, 3], 0.5), 1, 3), 4, 4));
      expect(Math.min(...grey)).toBeGreaterThan(0.39);
      expect(Math.max(...grey)).toBeLessThan(0.61);
      expect(new Set(grey.map(value => value.toFixed(4))).size).toBe(4);
    });
  });
});

describeInBrowser('the page that teaches a picture classifier', () => {
  // The page of the digit reader trains on webgl too.
  const visit = visitPage('pictures', {
    browser: ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'],
  });
  let chances: string[];
  let file: Buffer;

  const EXAMPLE = ['animals (15)', 'fruit (15)', 'vehicles (15)'];
  const heads = () => visit.texts('.class h3');
  const card = (name: string) => visit.page.locator(`.class[aria-label="${name}"]`);
  const tryFirst = async () => {
    await visit.page.dispatchEvent('#unseen button:first-child', 'click');
    await visit.says('Most likely');
    return visit.texts('.chance span:nth-child(2)');
  };
  const addClass = async (name: string) => {
    await visit.page.fill('#class-name', name);
    await visit.page.press('#class-name', 'Enter');
    await visit.says(`Added the class ${name}`);
  };

  test('says why it cannot train, takes pictures from a file and the webcam, and gives them back', async () => {
    const {page} = visit;
    expect(await heads()).toEqual(EXAMPLE);
    await addClass('toys');
    expect(await page.isDisabled('#learn')).toBe(true);
    expect(await page.textContent('#missing')).toMatch(/^Each class needs at least 5 images .*Too few: toys\.$/);
    await card('toys').locator('input').setInputFiles(PHOTO);
    await visit.says('toys has 1 image');
    await card('toys').getByText('Webcam').click();
    await visit.says('Hold');
    await page.click('#take');
    await visit.says('toys has 2 images');
    await page.click('#close-camera');
    await card('toys').locator('.samples button').first().click();
    await visit.says('Removed');
    expect(await heads()).toContain('toys (1)');
  });

  test('undoes removed images and classes, added ones, and the example', async () => {
    const {page} = visit;
    const before = await heads();
    await page.click('[aria-label="Remove image 6 of fruit, which is held out"]');
    await visit.says('Removed. Undo');
    expect(await heads()).toContain('fruit (14)');
    await page.keyboard.press('Control+z');
    await visit.says('Undone');
    expect(await heads()).toEqual(before);
    await page.click('[aria-label="Remove fruit"]');
    await visit.says('Removed fruit');
    expect(await heads()).not.toContain('fruit (15)');
    await visit.undo('fruit removed');
    await page.click('#example');
    await visit.says('The example is restored');
    expect(await heads()).toEqual(EXAMPLE);
    await visit.undo('example restored');
    expect(await heads()).toEqual(before);
    for (const what of ['image removed', 'images added to toys', 'images added to toys', 'class added']) {
      await visit.undo(what);
    }
    expect(await heads()).toEqual(EXAMPLE);
  });

  test('keeps classes and pictures over a reload, and begins again when it is told to', async () => {
    const {page} = visit;
    await addClass('toys');
    await card('toys').locator('input').setInputFiles(PHOTO);
    await visit.says('toys has 1');
    const pixels = () =>
      card('toys')
        .locator('canvas')
        .evaluate(canvas => (canvas as HTMLCanvasElement).toDataURL());
    await page.locator('#kept', {hasText: 'This browser keeps what you add'}).waitFor();
    const [before, own] = [await heads(), await pixels()];
    await visit.reload('Ready');
    expect(await heads()).toEqual(before);
    expect(await heads()).toContain('toys (1)');
    expect(await pixels()).toBe(own);
    await page.click('#example');
    await visit.says('The example is restored');
    expect(await heads()).toEqual(EXAMPLE);
    expect(await page.isEnabled('#learn')).toBe(true);
  });

  test('learns from a few pictures, and tells others apart', async () => {
    const {page} = visit;
    // Two classes of six are soon learned, on a machine without a graphics card too.
    await page.click('[aria-label="Remove vehicles"]');
    for (const name of ['animals', 'fruit']) {
      for (let count = 15; count > 6; count--) {
        await card(name).locator('.samples button').last().click();
        await card(name).locator('h3', {hasText: `(${count - 1})`}).waitFor(); // prettier-ignore
      }
    }
    await visit.type('#epochs', '6');
    await visit.type('#copies', '0');
    await visit.press('#learn');
    await visit.says('Trained');
    expect(await page.isVisible('#progress')).toBe(false);
    expect(await visit.texts('#results tbody th')).toEqual(['LoRA']);
    const [accuracy, parameters] = await visit.texts('#results td');
    expect(accuracy).toMatch(/^[\d.]+ % \(\d+ to \d+\)$/);
    // Factors at rank 8 of what expands and projects 96, 96, 160, 160 and 160 channels, of the 320 that are left to
    // 1280, and the head of 1280×2 and 2.
    const blocks = 96 + 576 + 576 + 96 + 96 + 576 + 576 + 160 + 2 * (160 + 960 + 960 + 160) + 160 + 960 + 960 + 320;
    expect(parameters).toBe((8 * (blocks + 320 + 1280) + 2 * 1281).toLocaleString('en'));
    chances = await tryFirst();
    expect(parseFloat(chances[0]!)).toBeGreaterThan(50); // it is an animal
  });

  testsOfEveryPage(visit, async () => {
    await visit.choose('letter.safetensors', 'Dear page,');
    await visit.says('letter.safetensors: ');
  });

  test('has it again after a reload, and as a file', async () => {
    file = (await visit.files('#save')).get('pictures.safetensors')!;
    await useBackend('cpu');
    const adapter = await loadAdapter(new Uint8Array(file));
    expect(Object.keys(adapter.config.layers).sort()).toEqual([
      'Conv_1',
      ...[12, 13, 14, 15, 16].flatMap(block => [`block_${block}_expand`, `block_${block}_project`]),
    ]);
    expect(adapter.config.head!.at).toBe('flatten_1');
    adapter.dispose();
    await visit.page.locator('#kept', {hasText: 'This browser keeps what you add'}).waitFor();
    await visit.reload('Ready. Your previous adapter');
    expect(await tryFirst()).toEqual(chances);
  });

  test('stops before the first step, and changes nothing', async () => {
    await visit.page.evaluate(() => {
      const stop = document.querySelector<HTMLButtonElement>('#stop')!;
      // As soon as it trains, whatever the page's thread does then.
      new MutationObserver((_, observer) => {
        observer.disconnect();
        setTimeout(() => stop.click());
      }).observe(stop, {attributes: true});
    });
    await visit.page.dispatchEvent('#learn', 'click');
    await visit.says('Stopped before the first step');
    expect(await visit.page.isVisible('#results')).toBe(false);
    expect(await visit.page.isDisabled('#stop')).toBe(true);
    expect(await tryFirst()).toEqual(chances);
  });

  test('stops during training and keeps what was learned, until that is undone', async () => {
    await visit.page.fill('#epochs', '60');
    await visit.stopBeyond(0.7);
    await visit.page.dispatchEvent('#learn', 'click');
    await visit.says('Stopped. Accuracy on 4 held-out images');
    expect(await visit.page.isVisible('#progress')).toBe(false);
    expect(await visit.page.isVisible('#results')).toBe(true);
    await visit.undo('training');
    expect(await visit.page.isVisible('#results')).toBe(false);
    expect(await tryFirst()).toEqual(chances);
  });

  test('opens an adapter', async () => {
    await visit.press('#forget');
    await visit.says('Adapter removed');
    expect(await visit.page.isDisabled('#save')).toBe(true);
    await visit.choose('own.safetensors', file);
    await visit.says('Opened');
    expect(await tryFirst()).toEqual(chances);
  });
});
