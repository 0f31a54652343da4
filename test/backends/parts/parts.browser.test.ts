import {setTimeout} from 'node:timers/promises';
import type {Browser} from 'playwright-core';
import {describeInBrowser, launchBrowser} from '../../examples/site';
import {servePage} from '../../servedPage';
import type {Outcome} from './page';

jest.setTimeout(240_000);

describeInBrowser("the library's kernels for wasm", () => {
  let site: Awaited<ReturnType<typeof servePage>>;
  let browser: Browser;
  /** What the server does before it sends the kernels, and whether it sends them. */
  let hold: () => Promise<boolean>;
  let asked: string[] = [];
  const atOnce = () => Promise.resolve(true);
  const late = () => setTimeout(1500).then(() => true);

  beforeAll(async () => {
    site = await servePage(__dirname, '', name => {
      asked.push(name);
      return name.startsWith('wasmPart') ? hold() : atOnce();
    });
    browser = await launchBrowser();
  });

  afterAll(async () => {
    await browser.close();
    site.close();
  });

  /** Calls functions of the page in a new tab, one after the other. */
  async function called(...names: ('libraryFirst' | 'backendFirst')[]): Promise<Outcome[]> {
    asked = [];
    const page = await browser.newPage();
    const faults: string[] = [];
    page.on('pageerror', error => faults.push(error.message));
    await page.goto(site.url);
    await page.waitForFunction(() => 'libraryFirst' in window);
    const outcomes: Outcome[] = [];
    for (const name of names) {
      outcomes.push(await page.evaluate(which => window[which](), name));
    }
    await page.close();
    expect(faults).toEqual([]);
    return outcomes;
  }

  test('come with the backend, however late, and are asked for once', async () => {
    hold = atOnce;
    const [soon] = await called('libraryFirst');
    hold = late;
    const [afterAWhile] = await called('libraryFirst');
    expect(asked.filter(name => name.startsWith('wasmPart'))).toHaveLength(1);
    expect(soon!.errors).toEqual([]);
    expect(soon!.losses!).toHaveLength(3);
    expect(soon!.losses!.at(-1)).toBeLessThan(soon!.losses![0]!);
    expect(afterAWhile).toEqual(soon);
  });

  test('are waited for by fit where the backend was there first, and by tf.ready', async () => {
    hold = atOnce;
    const [expected] = await called('libraryFirst');
    hold = late;
    const [{errors, ...others}] = (await called('backendFirst')) as [Outcome];
    expect(errors).toEqual([expect.stringMatching(/^ERR_NOT_READY: .*await tf\.ready\(\)/)]);
    expect({...others, errors: []}).toEqual(expected);
  });

  test('that cannot be loaded leave predictions as they are, and training says so', async () => {
    hold = atOnce;
    const [expected] = await called('libraryFirst');
    hold = () => Promise.resolve(false);
    const [refused] = (await called('libraryFirst')) as [Outcome];
    expect(refused.before).toEqual(expected!.before);
    expect(refused.losses).toBeUndefined();
    expect(refused.errors).toEqual([
      expect.stringMatching(/^ERR_IO: The training kernels for wasm could not be loaded/),
    ]);
    expect(refused.warnings).toEqual([expect.stringContaining("predict with tfjs's own kernels")]);
  });
});
