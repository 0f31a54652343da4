import {mkdirSync} from 'node:fs';
import type {Server} from 'node:http';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import type {Browser, BrowserContext, Page} from 'playwright-core';
import {augment} from '../../examples/pictures/src/augment';
import {loadAdapter} from '../../src';
import {numbers, useBackend, withoutLeaks} from '../helpers';
import {buildSite, describeInBrowser, downloads, launchBrowser, serveSite} from './site';

const SCREENSHOTS = join(__dirname, '../../examples/pictures/output/screenshots');

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
  let browser: Browser;
  let server: Server;
  let url: string;

  beforeAll(async () => {
    buildSite('pictures');
    ({url, server} = await serveSite('pictures'));
    browser = await launchBrowser(['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream']);
    mkdirSync(SCREENSHOTS, {recursive: true});
  });

  afterAll(async () => {
    await browser.close();
    server.close();
  });

  // The page of the digit reader trains on webgl too.
  describe('on wasm', () => {
    let context: BrowserContext;
    let page: Page;
    let chances: string[];
    let file: Buffer;
    const errors: string[] = [];

    /** Waits until the page says something that begins so. */
    const says = (begin: string) =>
      page.locator('#status', {hasText: new RegExp(`^${begin}`)}).waitFor({timeout: 150_000});
    const first = () => page.$$eval('.chance span:nth-child(2)', cells => cells.map(({textContent}) => textContent));
    const tryFirst = async () => {
      await page.dispatchEvent('#unseen button:first-child', 'click');
      await says('Most likely');
      return first();
    };

    beforeAll(async () => {
      context = await browser.newContext({viewport: {width: 1280, height: 1000}});
      page = await context.newPage();
      page.on('pageerror', error => errors.push(error.message));
      page.on('console', message => message.type() === 'error' && errors.push(message.text()));
      await page.goto(url);
      await says('Ready');
    });

    afterAll(() => context.close());

    test('says why it cannot train, takes pictures from a file and the webcam, and gives them back', async () => {
      await page.fill('#class-name', 'toys');
      await page.click('#new-class button');
      expect(await page.isDisabled('#learn')).toBe(true);
      expect(await page.textContent('#missing')).toBe('Each class needs at least 5 images. Too few: toys.');
      const toys = page.locator('.class', {hasText: 'toys'});
      await toys.locator('input').setInputFiles(join(__dirname, '../../examples/browser/page-light.jpg'));
      await toys.locator('.pictures button').waitFor();
      await toys.getByText('Webcam').click();
      await says('Hold');
      await page.click('#take');
      await page.click('#close-camera');
      expect(await toys.locator('h3').textContent()).toBe('toys (2)');
      await toys.locator('.pictures button').first().click();
      expect(await toys.locator('h3').textContent()).toBe('toys (1)');
    });

    test('undoes removed images and classes, added ones, and the example', async () => {
      const heads = () => page.locator('.class h3').allTextContents();
      const before = await heads();
      const undo = async (what: string) => {
        await page.click(`#undo:text-is("Undo: ${what}")`);
        await says('Undone');
      };
      await page.click('[aria-label="Remove image 5 of fruit, which is held out"]');
      await says('Removed. Undo');
      expect(await heads()).toContain('fruit (9)');
      await page.keyboard.press('Control+z');
      await says('Undone');
      expect(await heads()).toEqual(before);
      await page.locator('.class', {hasText: 'fruit'}).getByText('Remove').click();
      expect(await heads()).not.toContain('fruit (10)');
      await undo('fruit removed');
      await page.click('#begin-again');
      expect(await heads()).toEqual(['animals (10)', 'fruit (10)', 'vehicles (10)']);
      await undo('example restored');
      expect(await heads()).toEqual(before);
      expect(before).toContain('toys (1)');
      await undo('image removed');
      await undo('image added to toys');
      await undo('image added to toys');
      await undo('class added');
      expect(await heads()).toEqual(['animals (10)', 'fruit (10)', 'vehicles (10)']);
      // And there again for what follows.
      await page.fill('#class-name', 'toys');
      await page.press('#class-name', 'Enter');
      const file = join(__dirname, '../../examples/browser/page-light.jpg');
      await page.setInputFiles('[aria-label="Files for toys"]', file);
      await says('toys has 1');
    });

    test('keeps classes and pictures over a reload, and begins again when it is told to', async () => {
      const pixels = () =>
        page
          .locator('.class', {hasText: 'toys'})
          .locator('canvas')
          .evaluate(canvas => {
            const {width, height} = canvas as HTMLCanvasElement;
            return [...(canvas as HTMLCanvasElement).getContext('2d')!.getImageData(0, 0, width, height).data].join();
          });
      const heads = () => page.locator('.class h3').allTextContents();
      await page.locator('#kept', {hasText: 'This browser keeps your images'}).waitFor();
      const [before, own] = [await heads(), await pixels()];
      await page.reload();
      await says('Ready');
      expect(await heads()).toEqual(before);
      expect(await heads()).toContain('toys (1)');
      expect(await pixels()).toBe(own);
      await page.click('#begin-again');
      expect(await heads()).toEqual(['animals (10)', 'fruit (10)', 'vehicles (10)']);
      expect(await page.isEnabled('#learn')).toBe(true);
    });

    test('learns from a few pictures, and tells others apart', async () => {
      // Two classes of five are soon learned, on a machine without a graphics card too.
      await page.locator('.class', {hasText: 'vehicles'}).getByText('Remove').click();
      for (const name of ['animals', 'fruit']) {
        for (let i = 0; i < 5; i++) {
          await page.locator('.class', {hasText: name}).locator('.pictures button').last().click();
        }
      }
      await page.fill('#copies', '0');
      await page.fill('#epochs', '6');
      await page.dispatchEvent('#learn', 'click'); // without waiting for a thread that is at work
      await says('Trained');
      expect(await page.isVisible('#progress')).toBe(false);
      const cells = await page.$$eval('#results td', all => all.map(({textContent}) => textContent));
      expect(cells[0]).toBe('LoRA');
      // Factors of 160×960, 960×320 and 320×1280 at rank 4, and the head of 1280×2 and 2.
      expect(cells[2]).toBe((4 * (160 + 960 + 960 + 320 + 320 + 1280) + 2 * 1281).toLocaleString('en'));
      chances = await tryFirst();
      expect(parseFloat(chances[0]!)).toBeGreaterThan(50); // it is an animal
      await page.screenshot({path: join(SCREENSHOTS, 'wasm.png'), fullPage: true});
      expect(errors).toEqual([]);
    });

    test('has it again after a reload, and as a file', async () => {
      [file] = [...(await downloads(page, 1, () => page.click('#save-adapter'))).values()] as [Buffer];
      await says('Downloaded');
      await useBackend('cpu');
      const adapter = await loadAdapter(new Uint8Array(file));
      expect(Object.keys(adapter.config.layers).sort()).toEqual(['Conv_1', 'block_16_expand', 'block_16_project']);
      expect(adapter.config.head!.at).toBe('flatten_1');
      adapter.dispose();

      await page.reload();
      await says('Ready. Your previous adapter');
      expect(await tryFirst()).toEqual(chances);
      expect(errors).toEqual([]);
    });

    test('stops before the first step, and changes nothing', async () => {
      const rows = await page.locator('#results tbody tr').count();
      // As soon as it trains, whatever the page's thread does then.
      await page.evaluate(() => {
        const stop = document.querySelector<HTMLButtonElement>('#stop')!;
        new MutationObserver((_, observer) => {
          if (!stop.disabled) {
            observer.disconnect();
            stop.click();
          }
        }).observe(stop, {attributes: true});
      });
      await page.dispatchEvent('#learn', 'click');
      await says('Stopped before the first step');
      expect(await page.locator('#results tbody tr').count()).toBe(rows);
      expect(await page.isDisabled('#stop')).toBe(true);
      expect(await tryFirst()).toEqual(chances);
    });

    test('stops during training, and keeps what was learned', async () => {
      await page.fill('#epochs', '60');
      await page.evaluate(() => {
        const bar = document.querySelector<HTMLProgressElement>('#progress')!;
        new MutationObserver((_, observer) => {
          if (bar.value > 0.7) {
            observer.disconnect();
            document.querySelector<HTMLButtonElement>('#stop')!.click();
          }
        }).observe(bar, {attributes: true});
      });
      await page.dispatchEvent('#learn', 'click');
      await says('Stopped. Accuracy on 2 held-out images');
      expect(await page.isVisible('#progress')).toBe(false);
      expect(errors).toEqual([]);
    });

    test('opens an adapter', async () => {
      await page.setInputFiles('#open', {name: 'own.safetensors', mimeType: '', buffer: file});
      await says('Opened');
      expect(await tryFirst()).toEqual(chances);
      expect(errors).toEqual([]);
    });

    test('is legible in light and dark, and fits a phone', async () => {
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({colorScheme});
        for (const width of [1280, 390]) {
          await page.setViewportSize({width, height: 900});
          expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
          await page.screenshot({path: join(SCREENSHOTS, `${colorScheme}-${width}.png`), fullPage: true});
        }
      }
    });
  });
});
