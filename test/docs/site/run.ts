// Looks at the built site in Chromium: `npm run docs && npm run check -- site`. In light and dark, at a desk's and at a
// phone's width it has axe look for what some readers could not use, and it searches, trains, and runs the code of the
// pages. With `-- --pictures <folder>` it keeps pictures.

import {existsSync, mkdirSync, readdirSync, readFileSync} from 'node:fs';
import {createServer} from 'node:http';
import {extname, join} from 'node:path';
import {chromium, type Page} from 'playwright-core';
import {ARGUMENTS, CHROMIUM, contentType, listen} from '../../chromium';

const SITE = 'site/.vitepress/dist';
const PAGES = [
  'index.html',
  'overview.html',
  'docs/quick-start.html',
  'docs/peft.html',
  'docs/backends.html',
  'docs/graphModels.html',
  'docs/troubleshooting.html',
  'docs/api/node/functions/applyLoRA.html',
  'examples/index.html',
  'examples/browser/index.html',
  'site/try.html',
  'site/measure.html',
];
const PHONE = {width: 390, height: 844};
const DESK = {width: 1280, height: 900};

interface Violation {
  id: string;
  help: string;
  nodes: {target: string[]; failureSummary?: string}[];
}

if (!existsSync(join(SITE, 'index.html'))) {
  throw new Error('The site is not built. Run `npm run docs` first.');
}
const pictures = process.argv.includes('--pictures') ? process.argv.at(-1) : undefined;
if (pictures !== undefined) {
  mkdirSync(pictures, {recursive: true});
}

const server = createServer((request, response) => {
  const {pathname} = new URL(request.url ?? '/', 'http://localhost');
  const path = join(SITE, pathname.endsWith('/') ? `${pathname}index.html` : pathname);
  const file = extname(path) === '' ? `${path}.html` : path;
  if (!file.startsWith(SITE) || !existsSync(file)) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, {'content-type': contentType(file)}).end(readFileSync(file));
});
const origin = await listen(server);
const browser = await chromium.launch({executablePath: CHROMIUM, args: ARGUMENTS});
const axe = readFileSync('node_modules/axe-core/axe.min.js', 'utf8');
const faults: string[] = [];

async function violations(page: Page, within = 'html'): Promise<string[]> {
  await page.evaluate(axe);
  const found = await page.evaluate(async selector => {
    const {axe: tool} = window as unknown as {axe: {run(selector: string): Promise<{violations: Violation[]}>}};
    return (await tool.run(selector)).violations;
  }, within);
  return found.map(({id, help, nodes}) => `${id}: ${help}: ${nodes.length} ×, ${nodes[0]!.target.join(' ')}`);
}

for (const colorScheme of ['light', 'dark'] as const) {
  for (const viewport of [DESK, PHONE]) {
    const context = await browser.newContext({colorScheme, viewport});
    const page = await context.newPage();
    page.on('pageerror', error => faults.push(`${page.url()}: ${error.message}`));
    for (const path of PAGES) {
      const place = `${path}, ${colorScheme}, ${viewport.width} px`;
      await page.goto(`${origin}/${path}`);
      await page.waitForLoadState('networkidle');
      faults.push(...(await violations(page)).map(fault => `${place}: ${fault}`));
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      if (width > viewport.width) {
        faults.push(`${place}: it is ${width} px wide.`);
      }
      const cut = await page.$$eval(
        '.vp-doc pre',
        blocks => blocks.filter(pre => pre.scrollWidth > pre.clientWidth).length,
      );
      if (cut > 0) {
        faults.push(`${place}: ${cut} blocks of code are cut.`);
      }
      const wrong = colorScheme === 'light' ? /-dark\b/ : /-light\b/;
      const shown = await page.evaluate(() =>
        [...document.querySelectorAll<HTMLImageElement>('.VPContent img')]
          .filter(({offsetWidth}) => offsetWidth > 0)
          .map(({src, naturalWidth}) => ({src, naturalWidth})),
      );
      for (const {src, naturalWidth} of shown) {
        if (wrong.test(src) || naturalWidth === 0) {
          faults.push(`${place}: ${src} is shown, or is not there.`);
        }
      }
      if (pictures !== undefined) {
        const name = `${path.replaceAll('/', '-').replace('.html', '')}-${colorScheme}-${viewport.width}.png`;
        await page.screenshot({path: join(pictures, name)});
      }
    }
    await context.close();
  }
}
console.log(`${PAGES.length} pages in light and dark, at ${DESK.width} and ${PHONE.width} px`);

const page = await browser.newPage({viewport: DESK});
await page.goto(`${origin}/`);
await page.getByRole('button', {name: 'Search'}).first().click();
await page.getByRole('searchbox').fill('The model has no LoRA layers');
const results = page.locator('.VPLocalSearchBox .result').filter({hasText: 'The model has no LoRA layers'});
await results.first().waitFor({timeout: 20_000});
console.log('The search finds the way out for a message.');

await page.goto(`${origin}/site/try`);
await page.getByRole('button', {name: 'Train', exact: true}).click();
await page.getByText(/Epoch 20 of 20/).waitFor({timeout: 120_000});
const status = await page.getByRole('status').innerText();
console.log(`The page that trains says: ${status}`);
if (Number(/(\d+) %/.exec(status)?.[1]) < 50) {
  faults.push('The page that trains has not learned.');
}
faults.push(...(await violations(page)).map(fault => `the trained page: ${fault}`));
if (pictures !== undefined) {
  await page.screenshot({path: join(pictures, 'trained.png')});
}

await page.goto(`${origin}/site/measure?backends=wasm&cases=mlp&rounds=1&examples=1&trials=gate`);
await page.getByRole('button', {name: 'Measure', exact: true}).click();
await page.getByText(/^Measured in/).waitFor({timeout: 120_000});
const measured = await page.getByText(/computations are right/).innerText();
console.log(`The page that measures says: ${measured}`);
if (!/^(\d+) of \1 /.test(measured)) {
  faults.push('The page that measures finds something wrong.');
}
faults.push(...(await violations(page)).map(fault => `the measured page: ${fault}`));
if (pictures !== undefined) {
  await page.screenshot({path: join(pictures, 'measured.png'), fullPage: true});
}

const withCode = (readdirSync(SITE, {recursive: true}) as string[]).filter(
  path => path.endsWith('.html') && readFileSync(join(SITE, path), 'utf8').includes('class="run-block"'),
);
let blocksRun = 0;
for (const path of withCode) {
  await page.goto(`${origin}/${path}`);
  await page.waitForLoadState('networkidle');
  const last = page.locator('.run-block').last();
  for (const block of await page.locator('.run-block').all()) {
    await block.getByRole('button', {name: 'Run', exact: true}).click();
    await block.and(page.locator('[data-state=done], [data-state=failed]')).waitFor({timeout: 120_000});
    blocksRun++;
    if ((await block.getAttribute('data-state')) === 'failed') {
      const output = await block.frameLocator('iframe').getByRole('log').innerText();
      faults.push(`${path}: a block fails: ${output.slice(-300)}`);
    }
  }
  faults.push(...(await violations(page, '.run-block')).map(fault => `${path} with outputs: ${fault}`));
  if (pictures !== undefined) {
    await last.screenshot({path: join(pictures, `run-${path.replaceAll('/', '-')}.png`)});
  }
}
console.log(`${blocksRun} blocks of code run on ${withCode.length} pages.`);

await browser.close();
server.close();
faults.forEach(fault => console.error(fault));
if (faults.length > 0) {
  process.exitCode = 1;
}
