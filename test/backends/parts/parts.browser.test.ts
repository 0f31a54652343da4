import {spawnSync} from 'node:child_process';
import {join} from 'node:path';
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
  async function called(...names: ('libraryFirst' | 'backendFirst' | 'withoutLayers')[]): Promise<Outcome[]> {
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

  test('are loaded anew when the backend is set again', async () => {
    hold = atOnce;
    const [expected] = (await called('libraryFirst')) as [Outcome];
    let requests = 0;
    hold = () => Promise.resolve(++requests > 1);
    const [, again] = (await called('libraryFirst', 'libraryFirst')) as [Outcome, Outcome];
    expect(requests).toBe(2);
    expect({...again, warnings: []}).toEqual(expected);
  });

  test('refuse what tfjs lacks or computes wrongly until they are there', async () => {
    hold = late;
    const [waiting] = (await called('withoutLayers')) as [Outcome];
    expect(waiting.errors).toEqual([
      expect.stringMatching(/^ERR_NOT_READY: .*await tf\.ready\(\)/),
      expect.stringMatching(/^ERR_NOT_READY: .*await tf\.ready\(\)/),
      'none',
      'none',
    ]);
    hold = () => Promise.resolve(false);
    const [refused] = (await called('withoutLayers')) as [Outcome];
    expect(refused.errors).toHaveLength(4);
    expect(refused.errors.slice(2)).toEqual([
      expect.stringMatching(/^ERR_IO: .* could not be loaded/),
      expect.stringMatching(/^ERR_IO: .* could not be loaded/),
    ]);
    // Each value is the sum of eight channels of ones.
    expect(waiting.before).toEqual([8]);
  });

  test('late or refused change no number of the suite on all backends', () => {
    const program = ['--import', 'tsx', join(__dirname, 'run.ts'), '60'];
    const {status, stdout, stderr} = spawnSync(process.execPath, program, {encoding: 'utf8'});
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^(\d+) cases\. With late kernels, \1 have the same numbers\./);
  });
});
