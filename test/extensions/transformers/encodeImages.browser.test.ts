import {join} from 'node:path';
import type {Browser} from 'playwright-core';
import {describeInBrowser, launchBrowser} from '../../examples/site';
import {servePage} from '../../servedPage';
import type {} from './page/page';

jest.setTimeout(120_000);

describeInBrowser('encodeImages in a browser', () => {
  let browser: Browser;
  let served: Awaited<ReturnType<typeof servePage>>;

  beforeAll(async () => {
    served = await servePage(join(__dirname, 'page'));
    browser = await launchBrowser();
  });

  afterAll(async () => {
    await browser.close();
    served.close();
  });

  test('gives the same numbers for elements, bitmaps, files and data of the same colors', async () => {
    const page = await browser.newPage();
    await page.goto(served.url);
    await page.waitForFunction(() => window.isReady);
    const {imageData, ...others} = await page.evaluate(() => window.encoded());
    expect(imageData).toHaveLength(5 * 5 * 3);
    expect(Object.keys(others)).toEqual(['canvas', 'blob', 'image', 'offscreen', 'bitmap']);
    for (const values of Object.values(others)) {
      expect(values).toEqual(imageData);
    }
  });
});
