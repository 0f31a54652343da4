import {existsSync} from 'node:fs';
import {type BrowserContext, chromium} from 'playwright-core';
import {ARGUMENTS, CHROMIUM} from '../../test/chromium';
import type {Client} from './clients';
import type {Method} from './task';

/** A browser without a window, or nothing where there is none. */
export async function openBrowser(): Promise<BrowserContext | undefined> {
  if (!existsSync(CHROMIUM)) {
    return undefined;
  }
  const browser = await chromium.launch({executablePath: CHROMIUM, args: ARGUMENTS});
  return browser.newContext(); // one for all runs, so that the key in its IndexedDB is the same
}

/** What a tab is asked to do. */
export interface TabOrder {
  /** Where the page of a client is served. */
  page: string;
  client: number;
  method: Method;
  seed: number;
}

/** What the page says when a run is over. */
const OVER = /trained in ([\d,]+) rounds?, sent ([\d,]+) bytes and received ([\d,]+)/;

/**
 * A client in a tab, who presses its button.
 *
 * @param admit is given the file of its public key before.
 */
export function startTab(
  context: BrowserContext,
  {page: url, client, method, seed}: TabOrder,
  admit?: (publicKey: string) => Promise<void>,
): Client {
  const opened = context.newPage();
  const over = opened.then(async page => {
    await page.goto(`${url}?client=${client + 1}&method=${method}&seed=${seed}`);
    await page.locator('#status', {hasText: 'Ready'}).waitFor({timeout: 120_000});
    if (admit !== undefined) {
      const download = page.waitForEvent('download');
      await page.click('#key');
      await admit(await (await download).path());
    }
    await page.click('#join');
    const status = page.locator('#status.fault, #status:has-text("Over: ")');
    await status.waitFor({timeout: 0});
    const text = (await status.textContent()) ?? '';
    const [rounds, sent, received] = (OVER.exec(text) ?? []).slice(1).map(count => Number(count.replaceAll(',', '')));
    await page.close();
    if (rounds === undefined || sent === undefined || received === undefined) {
      throw new Error(`The tab says: ${text}`);
    }
    return {rounds, sent, received};
  });
  return {over, kill: () => void opened.then(page => page.close())};
}
