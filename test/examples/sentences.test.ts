import {join} from 'node:path';
import type {Page} from 'playwright-core';
import {fromSafetensors} from '../../src/storage/safetensors';
import {useBackend} from '../helpers';
import {describeUnless, pretrained} from '../missing';
import {collectErrors, longestTask, MISSING_BROWSER, openSite} from './site';

/** Of every six sentences, on one subject each, every other one is praise, and the first four are put into groups. */
const COUNT = 24;
const isGrouped = (sentence: number) => sentence % 6 < 4;
const areAlike = (one: number, other: number) => (one - other) % 2 === 0;

jest.setTimeout(240_000);

const ENCODER = pretrained('minilm');

describeUnless(ENCODER.missing ?? MISSING_BROWSER, 'the page that teaches an encoder of sentences', () => {
  const site = openSite('sentences', ENCODER.folder);
  let page: Page;
  let longest: number;
  let errors: string[];

  beforeAll(async () => {
    page = await site.browser.newPage({viewport: {width: 1280, height: 1000}});
    errors = collectErrors(page);
    await page.goto(site.url);
    await says('Ready');
  });

  /** Waits until the page says something that begins so. */
  async function says(begin: string): Promise<void> {
    await page.locator('#status', {hasText: new RegExp(`^${begin}`)}).waitFor({timeout: 120_000});
  }

  /** The numbers of the sentences nearest to one, from 0. */
  async function near(sentence: number, when: 'before' | 'after'): Promise<number[]> {
    await page.click(`#sentences li:nth-child(${sentence + 1}) button`);
    return page.$$eval(`#${when} li`, rows => rows.map(row => Number((row as HTMLElement).dataset['index'])));
  }

  test('at first the nearest are on the same subject', async () => {
    for (const sentence of [8, 13, 19]) {
      expect(Math.floor((await near(sentence, 'before'))[0]! / 6)).toBe(Math.floor(sentence / 6));
    }
    expect(await page.textContent('#status')).toContain('22.6 million');
    await page.screenshot({path: join(site.screenshots, 'before.png'), fullPage: true});
  });

  test(
    'once most sentences are grouped by mood, they are near those of their own mood, and the others nearer than ' +
      'before',
    async () => {
      /** The share of the four nearest that have the same mood. */
      const share = async (when: 'before' | 'after', grouped: boolean) => {
        const sentences = Array.from({length: COUNT}, (_, i) => i).filter(sentence => isGrouped(sentence) === grouped);
        let alike = 0;
        for (const sentence of sentences) {
          alike += (await near(sentence, when)).filter(other => areAlike(sentence, other)).length;
        }
        return alike / (4 * sentences.length);
      };
      await page.click('#example');
      longest = await longestTask(page, async () => {
        await page.click('#learn');
        await says('Learned');
      });
      const before = await share('before', false);
      expect(before).toBeLessThan(0.6);
      expect(await share('after', false)).toBeGreaterThan(before + 0.1);
      expect(await share('after', true)).toBeGreaterThan(0.9);
      await page.screenshot({path: join(site.screenshots, 'after.png'), fullPage: true});
    },
  );

  test('the thread of the page is never busy for more than 100 ms', () => {
    expect(longest).toBeLessThan(100);
  });

  test('the adapter is a file', async () => {
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#save')]);
    const chunks: Buffer[] = [];
    for await (const chunk of await download.createReadStream()) {
      chunks.push(chunk as Buffer);
    }
    await useBackend('cpu');
    const {config} = fromSafetensors(new Uint8Array(Buffer.concat(chunks)));
    expect(Object.keys(config.layers)).toHaveLength(6 * 5);
  });

  test('a sentence of one’s own is placed', async () => {
    await page.waitForSelector('#add button:enabled');
    await page.fill('#text', 'The soup was wonderful.');
    await page.click('#add button');
    await says('Added');
    expect(await page.locator('#sentences li').count()).toBe(COUNT + 1);
    expect(await page.locator('#after li').count()).toBe(4);
  });

  test('it works in the dark and on a phone', async () => {
    await page.emulateMedia({colorScheme: 'dark'});
    await page.screenshot({path: join(site.screenshots, 'dark.png'), fullPage: true});
    await page.setViewportSize({width: 375, height: 800});
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(375);
    await page.screenshot({path: join(site.screenshots, 'phone.png'), fullPage: true});
    expect(errors).toEqual([]);
  });
});
