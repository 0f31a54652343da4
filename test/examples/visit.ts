import type {Page} from 'playwright-core';
import {collectErrors, downloads, expectTidy, LOOKS, type OpenedSite, openSite, showAs} from './site';

/** What opens a page beside its name. */
interface VisitOptions {
  /** How the page says that it is ready. Default: "Ready". */
  ready?: string;
  /** The folder of what is served under `/model/`. */
  models?: string;
  /** Arguments of the browser. */
  browser?: readonly string[];
  /** Other folders that are served, by their paths. */
  folders?: Readonly<Record<string, string>>;
}

/** The page of an example, as somebody has it who visits it for the first time. */
export class Visit {
  page!: Page;
  /** Errors that the page did not deal with. */
  errors!: string[];

  constructor(readonly site: OpenedSite) {}

  /** Waits until the page says something that begins so, and is done with it. */
  async says(begin: string): Promise<void> {
    await this.saysAtOnce(begin);
    await this.page.waitForSelector('body:not([aria-busy="true"])');
  }

  /** Waits until the page says something that begins so, maybe while it goes on. */
  async saysAtOnce(begin: string): Promise<void> {
    await this.page.locator('#status', {hasText: new RegExp(`^${begin}`)}).waitFor({timeout: 150_000});
  }

  /** Undoes the latest step, which the button names. */
  async undo(what: string): Promise<void> {
    await this.page.click(`#undo:text-is("Undo: ${what}")`);
    await this.says('Undone');
  }

  /** What texts the elements have that a selector finds. */
  texts(selector: string): Promise<string[]> {
    return this.page.$$eval(selector, all => all.map(({textContent}) => textContent));
  }

  /** Chooses a file that the test makes. */
  async choose(input: string, name: string, content: Buffer | string): Promise<void> {
    await this.page.setInputFiles(input, {name, mimeType: '', buffer: Buffer.from(content)});
  }

  /** The files that a button gives, by their names. */
  files(selector: string, count = 1): Promise<Map<string, Buffer>> {
    return downloads(this.page, count, () => this.page.click(selector));
  }

  /** Has the page press its own button to stop as soon as its progress passes a share. */
  async stopBeyond(share: number): Promise<void> {
    await this.page.evaluate(least => {
      const bar = document.querySelector<HTMLProgressElement>('#progress')!;
      new MutationObserver((_, observer) => {
        if (bar.value > least) {
          observer.disconnect();
          document.querySelector<HTMLButtonElement>('#stop')!.click();
        }
      }).observe(bar, {attributes: true});
    }, share);
  }

  async reload(ready: string): Promise<void> {
    await this.page.reload();
    await this.says(ready);
  }
}

/** Builds, serves and opens the page of an example before the tests of a block, and closes it after them. */
export function visitPage(example: string, {ready = 'Ready', models, browser, folders = {}}: VisitOptions = {}): Visit {
  const visit = new Visit(openSite(example, models, browser, {folders}));
  beforeAll(async () => {
    visit.page = await visit.site.browser.newPage({viewport: {width: 1280, height: 1000}, hasTouch: true});
    visit.errors = collectErrors(visit.page);
    await visit.page.goto(visit.site.url);
    await visit.says(ready);
  });
  return visit;
}

/**
 * What holds for every page, as it is after the tests before: with the results of a training.
 *
 * @param showError has the page say that something failed.
 * @param handled errors that the page is known to deal with.
 * @param main the id of the button that the page is for.
 */
export function testsOfEveryPage(
  visit: Visit,
  showError: () => Promise<void>,
  handled: (error: string) => boolean = () => false,
  main = 'learn',
): void {
  test('every control is reached by keys, with a focus that can be seen', async () => {
    const {page} = visit;
    const enabled = await page.$$eval('button:enabled, select:enabled, input:enabled', all =>
      all.filter(each => each.id !== '' && each.tabIndex >= 0 && each.checkVisibility()).map(({id}) => id),
    );
    await page.evaluate(() => (document.activeElement as HTMLElement).blur());
    const reached = new Map<string, string>();
    for (let i = 0; i < 400 && enabled.some(id => !reached.has(id)); i++) {
      await page.keyboard.press('Tab');
      const [id, outline] = await page.evaluate(() => {
        const element = document.activeElement!;
        return [element.id, getComputedStyle(element).outlineStyle] as const;
      });
      reached.set(id, outline);
    }
    expect(enabled).toContain(main);
    expect(enabled.map(id => [id, reached.get(id)])).toEqual(enabled.map(id => [id, 'solid']));
  });

  test.each(LOOKS)('it is $colorScheme on a $name, tidy, and without a finding of axe-core', async look => {
    await showAs(visit.page, look);
    await expectTidy(visit.page, look, visit.site.screenshots);
  });

  test('on a phone, the main button is within the first screen and a half', async () => {
    await showAs(
      visit.page,
      LOOKS.find(({name}) => name === 'phone')!,
    );
    const bottom = await visit.page.$eval(`#${main}`, button => button.getBoundingClientRect().bottom + scrollY);
    expect(bottom).toBeLessThan(1.5 * 844);
  });

  test.each(LOOKS)('with an error, it is $colorScheme on a $name and still tidy', async look => {
    await showAs(visit.page, look);
    await showError();
    expect(await visit.page.getAttribute('#status', 'class')).toContain('fault');
    await expectTidy(visit.page, {...look, name: `${look.name}-error`}, visit.site.screenshots);
  });

  test('it meets no error that it does not deal with', () => {
    expect(visit.errors.filter(error => !handled(error))).toEqual([]);
  });
}
