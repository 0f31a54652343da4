/**
 * Takes the pictures of pages for their READMEs again: each page after the training of its example, in light and dark.
 * The page of deploy, which does not train, generates with each adapter; `npm run example -- deploy` makes these.
 *
 *     npx tsx scripts/pagePictures.ts sentences hand
 */
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {chromium} from 'playwright-core';
import {openPage} from '../examples/shared/serve';
import {ARGUMENTS, CHROMIUM} from '../test/chromium';

/** Training on a loaded machine takes minutes. */
const TIMEOUT = 1_800_000;
/** The button that is pressed, and what the page says at the end. */
const TRAINS = {button: '#learn', end: /^Trained/};
const OTHERS: Readonly<Record<string, typeof TRAINS>> = {deploy: {button: '#each', end: /^Done/}};

const browser = await chromium.launch({executablePath: CHROMIUM, args: ARGUMENTS});
for (const name of process.argv.slice(2)) {
  const folder = fileURLToPath(new URL(`../examples/${name}/`, import.meta.url));
  const served = await openPage(join(folder, 'vite.config.ts'));
  const page = await browser.newPage({viewport: {width: 1280, height: 1000}});
  const says = (text: RegExp) => page.locator('#status', {hasText: text}).waitFor({timeout: TIMEOUT});
  await page.goto(served.url);
  await says(/^Ready/);
  const {button, end} = OTHERS[name] ?? TRAINS;
  await page.click(button);
  await says(end);
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({colorScheme, reducedMotion: 'reduce'});
    await page.waitForTimeout(2000); // points glide, and charts are drawn
    await page.screenshot({path: join(folder, `page-${colorScheme}.jpg`), type: 'jpeg', quality: 75, fullPage: true});
  }
  await page.close();
  await served.close();
}
await browser.close();
