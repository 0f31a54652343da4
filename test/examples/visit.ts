import type {Page} from 'playwright-core';
import {
  collectErrors,
  downloads,
  expectTidy,
  LOOKS,
  type OpenedSite,
  openSite,
  type ServeOptions,
  showAs,
} from './site';

/** What opens a page beside its name. */
interface VisitOptions {
  /** How the page says that it is ready. Default: "Ready". */
  ready?: string;
  /** The folder of what is served under `/model/`. */
  models?: string;
  /** Arguments of the browser. */
  browser?: readonly string[];
  /** What else the server of the page does. */
  serve?: ServeOptions;
  /** What follows the address of the page. */
  query?: string;
  /** Errors that the page is known to deal with. */
  handled?: (error: string) => boolean;
}

/** What shows where the focus is. */
interface Focus {
  control: string;
  isInSight: boolean;
  outline: string;
}

/** The page of an example, as somebody has it who visits it for the first time. */
export class Visit {
  page!: Page;
  /** Errors that the page did not deal with. */
  errors!: string[];

  constructor(readonly site: OpenedSite) {}

  /** Waits until the page says something that begins so, also to a screen reader, and is done with it. */
  async says(begin: string): Promise<void> {
    await this.saysAtOnce(begin);
    await this.page.waitForSelector('body:not([aria-busy="true"])');
    await this.page.waitForSelector('#status[role="status"]:not([aria-live="off"])');
  }

  /** Waits until the page says something that begins so, maybe while it goes on. */
  async saysAtOnce(begin: string): Promise<void> {
    await this.page.locator('#status', {hasText: new RegExp(`^${begin}`)}).waitFor({timeout: 150_000});
  }

  /** Goes to a control by the Tab key alone, where the focus can be seen. */
  async reach(selector: string): Promise<void> {
    const {page} = this;
    const control = page.locator(selector);
    await page.waitForSelector(`${selector}:not(:disabled)`);
    for (let stops = 0; ; stops++) {
      const way = await control.evaluate(element => {
        const {activeElement} = document;
        const place = activeElement!.compareDocumentPosition(element);
        return activeElement === element ? '' : place & Node.DOCUMENT_POSITION_FOLLOWING ? 'Tab' : 'Shift+Tab';
      });
      if (way === '' && stops > 0) {
        break;
      }
      expect(stops).toBeLessThan(200);
      await page.keyboard.press(way || 'Shift+Tab'); // away, and here again, if it was here before
    }
    expectSeen(await focusOf(page));
  }

  /** Presses a control by keys alone. */
  async press(selector: string, key = 'Enter'): Promise<void> {
    await this.reach(selector);
    await this.page.keyboard.press(key);
  }

  /** Fills a field in by keys alone. */
  async type(selector: string, text: string): Promise<void> {
    await this.press(selector, 'Control+a');
    await this.page.keyboard.type(text);
  }

  /** Undoes the latest step, which the button names, by keys alone. */
  async undo(what: string): Promise<void> {
    await this.press(`#undo:text-is("Undo: ${what}")`);
    await this.says('Undone');
  }

  /** What texts the elements have that a selector finds. */
  texts(selector: string): Promise<string[]> {
    return this.page.$$eval(selector, all => all.map(({textContent}) => textContent));
  }

  /** Chooses a file that the test makes, by keys alone. */
  async choose(name: string, content: Buffer | string): Promise<void> {
    const chooser = this.page.waitForEvent('filechooser');
    await this.press('#files');
    await (await chooser).setFiles({name, mimeType: '', buffer: Buffer.from(content)});
  }

  /** The files that a button gives when it is pressed by keys alone, by their names. */
  files(selector: string, count = 1): Promise<Map<string, Buffer>> {
    return downloads(this.page, count, () => this.press(selector));
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

/** What has the focus, and how that is seen. */
function focusOf(page: Page): Promise<Focus> {
  return page.evaluate(() => {
    const element = document.activeElement!;
    const {left, right, top, bottom} = element.getClientRects()[0]!; // a link may be on two lines
    const at = document.elementFromPoint(
      (left + right) / 2,
      Math.max(0, Math.min((top + bottom) / 2, innerHeight - 1)),
    );
    const {outlineStyle, outlineWidth} = getComputedStyle(element);
    return {
      control: element.id || element.ariaLabel || element.tagName,
      isInSight: element.contains(at) || at?.closest('label')?.control === element,
      outline: `${outlineStyle} ${outlineWidth}`,
    };
  });
}

function expectSeen(focus: Focus): void {
  expect(focus).toEqual({...focus, isInSight: true, outline: 'solid 3px'});
}

/** The ways to look at a page of which each is another width and another scheme of colors. */
const TWO_LOOKS = [LOOKS[0]!, LOOKS[3]!];

/** Builds, serves and opens the page of an example before the tests of a block, and closes it after them. */
export function visitPage(
  example: string,
  {ready = 'Ready', models, browser, serve, query = '', handled = () => false}: VisitOptions = {},
): Visit {
  const visit = new Visit(openSite(example, models, browser, serve));
  beforeAll(async () => {
    visit.page = await visit.site.browser.newPage({viewport: {width: 1280, height: 1000}, hasTouch: true});
    visit.errors = collectErrors(visit.page);
    await visit.page.goto(visit.site.url + query);
    await visit.says(ready);
  });
  // Whatever a test meets.
  afterAll(() => expect(visit.errors.filter(error => !handled(error))).toEqual([]));

  test.each(TWO_LOOKS)('opened, it is $colorScheme on a $name, tidy, and without a finding of axe-core', async look => {
    await showAs(visit.page, look);
    await expectTidy(visit.page, {...look, name: `${look.name}-opened`}, visit.site.screenshots);
    await showAs(visit.page, LOOKS[0]!);
  });
  return visit;
}

/**
 * What holds for every page after a training.
 *
 * @param showError has the page say that something failed.
 * @param main the id of the button that the page is for.
 */
export function testsOfEveryPage(visit: Visit, showError: () => Promise<void>, main = 'learn'): void {
  test('every control is reached by keys, with a focus that can be seen', async () => {
    const {page} = visit;
    const count = await page.evaluate(() => {
      const all = document.querySelectorAll<HTMLElement>('a[href], button, select, input, textarea, [tabindex]');
      const stops = [...all].filter(each => each.tabIndex >= 0 && !each.matches(':disabled') && each.checkVisibility());
      stops.forEach(each => (each.dataset['stop'] = ''));
      (document.activeElement as HTMLElement).blur();
      return stops.length;
    });
    expect(count).toBeLessThan(100);
    const unseen: Focus[] = [];
    for (let i = 0; i < count + 3 && (await page.locator('[data-stop]').count()) > 0; i++) {
      await page.keyboard.press('Tab');
      await page.evaluate(() => delete (document.activeElement as HTMLElement).dataset['stop']);
      const focus = await focusOf(page);
      if (focus.control !== 'BODY' && (!focus.isInSight || focus.outline !== 'solid 3px')) {
        unseen.push(focus);
      }
    }
    expect(unseen).toEqual([]);
    expect(await page.locator('[data-stop]').evaluateAll(all => all.map(({outerHTML}) => outerHTML))).toEqual([]);
  });

  test.each(LOOKS)('it is $colorScheme on a $name, tidy, and without a finding of axe-core', async look => {
    // The results of a training, or of what the page does instead, are shown.
    expect(await visit.page.textContent('#status')).toMatch(/^(Trained|Most likely|Answered|Done|Over)/);
    await showAs(visit.page, look);
    await expectTidy(visit.page, look, visit.site.screenshots);
  });

  test('on a phone, the main button is within the first screen and a half', async () => {
    await showAs(visit.page, LOOKS[3]!);
    const bottom = await visit.page.$eval(`#${main}`, button => button.getBoundingClientRect().bottom + scrollY);
    expect(bottom).toBeLessThan(1.5 * 844);
  });

  test.each(LOOKS)('with an error, it is $colorScheme on a $name and still tidy', async look => {
    await showAs(visit.page, look);
    await showError();
    expect(await visit.page.getAttribute('#status', 'class')).toContain('fault');
    await expectTidy(visit.page, {...look, name: `${look.name}-error`}, visit.site.screenshots);
    await showAs(visit.page, LOOKS[0]!);
  });
}
