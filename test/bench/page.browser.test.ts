import type {Page} from 'playwright-core';
import {markdownOf, type Result, type RunResult, summaryOf, verdictOf} from '../../bench/page/result';
import {WEBGPU_ARGUMENTS} from '../chromium';
import {collectErrors, describeInBrowser, downloads, expectTidy, LOOKS, openSite, showAs} from '../examples/site';

jest.setTimeout(150_000);

const summary = (median: number) => ({median, low: median, high: median, count: 1});

const TRIALS: NonNullable<Result['backends'][number]['trials']> = {
  atStart: [
    {name: 'programs number by number', works: true},
    {name: 'programs of matrices', works: false},
  ],
  source: 'programs',
  outcomes: [
    {name: 'Gelu', tolerance: 1e-4, own: 2e-6, composed: 0},
    {name: 'a|b', tolerance: 1e-4, own: 0.25, composed: 1e-6},
    {name: 'rows', tolerance: 1e-4, own: 0.25, composed: Infinity},
    {name: 'large', tolerance: 1e-4, error: 'Out of memory'},
  ],
};

test('it says whose code is wrong, and whether the library uses its own', () => {
  expect(TRIALS.outcomes.map(verdictOf)).toEqual(['right', 'wrong', 'tfjs wrong', 'throws']);
  expect(verdictOf({name: 'NaN', tolerance: 1e-4, own: NaN, composed: 0})).toBe('wrong');
  expect(summaryOf(TRIALS)).toBe(
    '1 of 4 computations are right. A step is computed by: programs, and ' +
      "tfjs's kernels take the place of programs of matrices.",
  );
});

test('a result is a text with tables', () => {
  const result: Result = {
    ...{format: 1, library: '1.2.3', date: '2026-01-02', rounds: 5, stopped: true},
    device: {browser: 'Browser 1', cores: 8, memory: 4, webgl: 'Card', isolated: false},
    backends: [
      {
        name: 'webgl',
        started: {tfjs: '4.22.0', floatBits: 16},
        cases: [
          {
            name: 'mlp',
            title: 'MLP',
            runs: [
              {
                ...{run: 'stock predict', launches: 17, peakBytes: 2 ** 21},
                ...{ms: summary(4), toPredict: summary(1), toFull: summary(0.5)},
              },
              {run: 'stock full', error: 'No kernel'},
            ],
          },
        ],
        trials: TRIALS,
      },
      {name: 'webgpu', error: 'This browser has no webgpu.', cases: []},
    ],
  };
  expect(markdownOf(result)).toBe(`| measured | by tfjs-lora |
| --- | ---: |
| tfjs-lora | 1.2.3 |
| tfjs | 4.22.0 |
| date | 2026-01-02 |
| browser | Browser 1 |
| cores | 8, 4 GB or more |
| wasm | in a page that may have none |
| WebGL | Card, 16-bit floats |
| WebGPU | not there |
| rounds | 5, stopped before the end |

### webgl

| MLP | ms | ÷ predict | ÷ full step | launches | peak MB |
| --- | ---: | ---: | ---: | ---: | ---: |
| predict, plain tfjs | 4.0 | 1.00 | 0.50 | 17 | 2.0 |
| full step, plain tfjs | No kernel |  |  |  |  |

${summaryOf(TRIALS)}

| not right | what | the library | tfjs alone | allowed |
| --- | ---: | ---: | ---: | ---: |
| a\\|b | wrong | 2.5e-1 | 1.0e-6 | 1.0e-4 |
| rows | tfjs wrong | 2.5e-1 | Infinity | 1.0e-4 |
| large | Out of memory | – | – | 1.0e-4 |

### webgpu

This browser has no webgpu.
`);
});

describeInBrowser('the page that measures a device', () => {
  const site = openSite('page', undefined, WEBGPU_ARGUMENTS, {
    place: 'bench',
    headers: {'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp'},
  });
  let page: Page;
  let errors: string[];
  const calls: string[] = [];

  beforeAll(async () => {
    const context = await site.browser.newContext({permissions: ['clipboard-read', 'clipboard-write']});
    page = await context.newPage();
    errors = collectErrors(page);
    context.on('request', request => {
      const local = request.url().startsWith(site.url) || request.url().startsWith('blob:');
      calls.push(`${local ? '' : request.url()} ${request.method()}`);
    });
    await page.goto(
      `${site.url}?cases=mlp&runs=predict,lora&rounds=1&examples=1&trials=gated&backends=cpu,wasm,webgpu`,
    );
  });

  const says = (text: RegExp) => page.getByRole('status').filter({hasText: text}).waitFor({timeout: 120_000});
  const press = (name: string) => page.getByRole('button', {name, exact: true}).click();
  let measured: Result;

  test('it ends its workers when it is stopped', async () => {
    await press('Measure');
    await says(/ …$/);
    const [worker = await page.waitForEvent('worker')] = page.workers(); // there is none between two of them
    expect(worker).toBeDefined();
    await press('Stop');
    await says(/^Stopped\./);
    // The browser tells a little later.
    for (const end = Date.now() + 10_000; page.workers().length > 0 && Date.now() < end;) {
      await page.waitForTimeout(50);
    }
    expect(page.workers()).toEqual([]);
  });

  /** Measures what is chosen. */
  async function measure(): Promise<Result> {
    await press('Measure');
    await says(/^Measured in/);
    const [file] = (await downloads(page, 1, () => press('Download as JSON'))).values();
    return JSON.parse(file!.toString()) as Result;
  }

  function runsOf({backends}: Result, name: string): RunResult[] {
    const [first, ...others] = backends.find(backend => backend.name === name)!.cases;
    expect(others).toEqual([]);
    expect(first!.title).toContain('batch 1, rank 8');
    return first!.runs;
  }

  // In software, webgl takes as long as all others together.
  test('it measures the chosen backends, and nothing leaves the page', async () => {
    measured = await measure();
    expect(measured).toMatchObject({format: 1, rounds: 1, stopped: false});
    expect(measured.backends.map(({name, error}) => [name, error])).toEqual(
      ['cpu', 'wasm', 'webgpu'].map(name => [name, undefined]),
    );
    expect(measured.device).toMatchObject({webgl: expect.stringContaining('SwiftShader') as string, isolated: true});
    expect(new Set(calls)).toEqual(new Set([' GET']));
  });

  test.each(['cpu', 'wasm', 'webgpu'])('on %s it has times, ratios, memory and launches', name => {
    const runs = runsOf(measured, name);
    expect(runs.map(({run}) => run)).toEqual(['stock predict', 'predict', 'lora']);
    const isCard = name.startsWith('web');
    for (const {ms, samples, toPredict, launches, peakBytes, error} of runs) {
      expect(error).toBeUndefined();
      expect(samples).toEqual([ms!.median]);
      expect(toPredict!.median).toBeCloseTo(ms!.median / runs[0]!.ms!.median, 10);
      expect(isCard ? launches! > 0 : launches === null).toBe(true);
      expect(peakBytes).toBeGreaterThan(4 * 4 * 1024 * 1024); // the kernels of four layers of 1024
    }
    const [stock, predict, lora] = runs.map(({launches}) => launches);
    expect(predict).toBe(stock);
    expect(isCard ? lora! > predict! : lora === null).toBe(true);
  });

  test.each(['wasm', 'webgpu'])('on %s the code of the library computes rightly', name => {
    const {trials} = measured.backends.find(backend => backend.name === name)!;
    expect(trials!.outcomes.map(outcome => [outcome.name, verdictOf(outcome)])).toEqual([
      ['GatedActivation', 'right'],
      ['GatedActivation of one input', 'right'],
    ]);
    expect(trials!.atStart.filter(({works}) => !works)).toEqual([]);
    expect(trials!.source).toBe(name === 'wasm' ? 'module' : 'programs');
  });

  test('a full step is measured too, and plain tfjs has nothing of the library', async () => {
    for (const name of ['cpu', 'webgpu']) {
      await page.getByLabel(name, {exact: true}).uncheck();
    }
    await page.getByLabel('full step').check();
    measured = await measure();
    const runs = runsOf(measured, 'wasm');
    expect(runs.map(({run}) => run)).toEqual(['stock predict', 'predict', 'lora', 'full', 'stock full']);
    const [full, stock] = runs.slice(3) as [RunResult, RunResult];
    expect(full.toFull!.median).toBe(1);
    expect(stock.toFull!.median).toBeCloseTo(stock.ms!.median / full.ms!.median, 10);
    // Adam of the library makes no tensors on the way.
    expect(stock.peakBytes).toBeGreaterThan(1.5 * full.peakBytes!);
  });

  test('it gives its results as text', async () => {
    await press('Copy as Markdown');
    await says(/^Copied\.$/);
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    expect(copied).toBe(markdownOf(measured));
  });

  test.each(LOOKS)('on a $name in the $colorScheme it is in order', async look => {
    await showAs(page, look);
    await expectTidy(page, look, site.screenshots);
    expect(errors).toEqual([]);
  });
});
