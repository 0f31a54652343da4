import {readFileSync} from 'node:fs';
import type {Browser, BrowserContext, Download, Page} from 'playwright-core';
import {collectErrors} from './site';

/** A file as a visitor would drop it. */
export interface DroppedFile {
  name: string;
  content: Buffer;
}

/** What a visitor does with the page. */
export class DigitPage {
  /** Errors that the page did not deal with. */
  readonly errors: string[];

  private constructor(
    readonly context: BrowserContext,
    readonly page: Page,
  ) {
    this.errors = collectErrors(page);
  }

  /** Opens the page as somebody who has never been there. */
  static async open({browser, url}: {browser: Browser; url: string}): Promise<DigitPage> {
    const context = await browser.newContext({acceptDownloads: true, viewport: {width: 1280, height: 900}});
    const opened = new DigitPage(context, await context.newPage());
    await opened.page.goto(url);
    await opened.isIdle();
    return opened;
  }

  /** Waits until the page has nothing to wait for. */
  async isIdle(): Promise<void> {
    await this.page.waitForSelector('#backend:enabled', {timeout: 90_000});
  }

  async reload(): Promise<void> {
    await this.page.reload();
    await this.isIdle();
    await this.shown(); // of the digit that the page opens with
  }

  async useBackend(backend: string): Promise<void> {
    await this.page.selectOption('#backend', backend);
    await this.isIdle();
  }

  async take(count: number): Promise<void> {
    await this.page.fill('#count', String(count));
    await this.page.click('#take');
  }

  async train(epochs: number): Promise<void> {
    await this.page.fill('#epochs', String(epochs));
    await this.page.click('#train'); // the page is busy at once, and a short training may be over before somebody looks
    await this.isIdle();
  }

  /** Undoes the latest step, which the button names. */
  async undo(what: string): Promise<void> {
    await this.page.click(`#undo:text-is("Undo: ${what}")`);
    await this.isIdle();
  }

  /** The labels and how many samples each has. */
  collected(): Promise<string[]> {
    return this.page.$$eval('#labels canvas', strips => strips.map(strip => strip.getAttribute('aria-label')!));
  }

  text(selector: string): Promise<string> {
    return this.page.innerText(selector);
  }

  /** The probabilities of both models for the next held-out digit: the page opens with a 5, then comes a 6. */
  async readUnseen(): Promise<{base: number[]; adapted: number[]}> {
    if (await this.page.isEnabled('#clear')) {
      await this.page.click('#clear');
    }
    await this.page.waitForFunction(() =>
      [...document.querySelectorAll<HTMLElement>('.bar-track > span')].every(({style}) => style.width === '0%'),
    );
    await this.page.click('#unseen');
    return this.shown();
  }

  /** The probabilities that the bars show, when they have come to rest. */
  async shown(): Promise<{base: number[]; adapted: number[]}> {
    const read = (id: string) =>
      this.page.$$eval(`#${id} .bar-track > span`, bars => bars.map(bar => parseFloat(bar.style.width) / 100));
    let former = '';
    for (;;) {
      const result = {base: await read('base-bars'), adapted: await read('adapted-bars')};
      const sum = result.base.reduce((total, value) => total + value, 0);
      if (sum > 0.99 && JSON.stringify(result) === former) {
        return result;
      }
      former = JSON.stringify(result);
      await this.page.waitForTimeout(250);
    }
  }

  /** Clicks a button and collects as many downloads as it gives. */
  async downloads(button: string, count: number): Promise<DroppedFile[]> {
    const downloads: Download[] = [];
    const done = new Promise<void>(resolve => {
      this.page.on('download', download => {
        if (downloads.push(download) === count) {
          resolve();
        }
      });
    });
    await this.page.click(button);
    await done;
    this.page.removeAllListeners('download');
    return Promise.all(
      downloads.map(async download => ({
        name: download.suggestedFilename(),
        content: readFileSync(await download.path()),
      })),
    );
  }

  /** Drops files on the page, and waits for what it says to that. */
  async drop(...files: readonly DroppedFile[]): Promise<string> {
    const dataTransfer = await this.page.evaluateHandle(
      given => {
        const transfer = new DataTransfer();
        for (const {name, base64} of given) {
          transfer.items.add(new File([Uint8Array.from(atob(base64), letter => letter.charCodeAt(0))], name));
        }
        return transfer;
      },
      files.map(({name, content}) => ({name, base64: content.toString('base64')})),
    );
    await this.page.dispatchEvent('#drop', 'drop', {dataTransfer});
    await this.page.waitForSelector('#message:not([hidden])');
    await this.isIdle();
    return this.text('#message-text');
  }

  /**
   * How many tensors the worker holds: once they are as many as expected, or after ten seconds. A prediction that is
   * under way holds more.
   */
  async tensors(expected = Infinity): Promise<number> {
    const [worker] = this.page.workers();
    const last = Date.now() + 10_000;
    for (;;) {
      const count = await worker!.evaluate(() => {
        // where tfjs keeps it
        const {_tfengine} = globalThis as unknown as {_tfengine: {memory(): {numTensors: number}}};
        return _tfengine.memory().numTensors;
      });
      if (count <= expected || Date.now() > last) {
        return count;
      }
      await this.page.waitForTimeout(100);
    }
  }
}
