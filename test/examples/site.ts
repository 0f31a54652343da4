import {spawnSync} from 'node:child_process';
import {existsSync, mkdirSync, readFileSync} from 'node:fs';
import {createServer, request as callServer, type Server} from 'node:http';
import {join} from 'node:path';
import {type Browser, chromium, type Download, type Page} from 'playwright-core';
import {ARGUMENTS, CHROMIUM, contentType, listen} from '../chromium';
import {describeUnless} from '../missing';

/** Both jest and npm run in the folder of the project. */
const ROOT = process.cwd();

/** What tests of pages miss here, if anything. */
export const MISSING_BROWSER = existsSync(CHROMIUM)
  ? undefined
  : `No browser at ${CHROMIUM}: install Debian's package chromium, or name another in CHROMIUM.`;

/**
 * `describe`, where there is a browser; else its tests are skipped, or with `CI=true` fail, and say what is missing.
 */
export function describeInBrowser(name: string, tests: () => void): void {
  describeUnless(MISSING_BROWSER, name, tests);
}

/** `test`, where it is to run: what no backend has to do with is seen on one. */
export function testWhere(isHere: boolean): (name: string, run: () => Promise<void>) => void {
  return (name, run) => {
    if (isHere) {
      test(name, run);
    }
  };
}

export function launchBrowser(more: readonly string[] = []): Promise<Browser> {
  return chromium.launch({executablePath: CHROMIUM, args: [...ARGUMENTS, ...more]});
}

/** Where pages stand. Those of the examples take the library as it is built, those of the benchmark its source. */
type Place = 'examples' | 'bench';

/** Builds the page of an example. */
export function buildSite(example: string, place: Place = 'examples'): void {
  if (place === 'examples' && !existsSync(join(ROOT, 'dist/index.js'))) {
    throw new Error('The library is not built. Run `npm run build` first; `npm test` does.');
  }
  const vite = join(ROOT, 'node_modules/vite/bin/vite.js');
  const {status, stderr} = spawnSync(process.execPath, [vite, 'build', `${place}/${example}`, '--logLevel', 'error'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  if (status !== 0) {
    throw new Error(`The page could not be built: ${stderr}`);
  }
}

/** What else the server of a page does. */
export interface ServeOptions {
  /** Headers of all files. */
  headers?: Readonly<Record<string, string>>;
  /** Under a path, the address of another server to which calls are passed on. */
  passOn?: readonly [path: string, address: string];
  place?: Place;
  /** Under a path, the folder of other files. */
  folders?: Readonly<Record<string, string>>;
}

/** Serves the built page of an example on this machine, and under `/model/` the files of a folder. */
export async function serveSite(
  example: string,
  models = '',
  {headers = {}, passOn: [passed, address] = ['', ''], place = 'examples', folders = {}}: ServeOptions = {},
): Promise<{url: string; server: Server}> {
  const site = join(ROOT, place, example, 'output/site');
  const server = createServer((request, response) => {
    const {pathname} = new URL(request.url ?? '/', 'http://localhost');
    if (passed !== '' && pathname.startsWith(passed)) {
      const {method, headers: sent} = request;
      const call = callServer(address + pathname.slice(passed.length), {method, headers: sent}, answer => {
        response.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(response);
      });
      request.pipe(call);
      return;
    }
    const others = Object.entries({...(models !== '' && {'/model/': models}), ...folders});
    const [start, folder] = others.find(([path]) => pathname.startsWith(path)) ?? ['', site];
    const path = pathname.slice(start.length);
    const file = join(folder, path === '/' ? 'index.html' : path);
    if (!file.startsWith(folder) || !existsSync(file)) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, {'content-type': contentType(file), ...headers});
    response.end(readFileSync(file));
  });
  return {url: `${await listen(server)}/`, server};
}

/** What the tests of an example's page have: a browser, the address of the page, and a folder for pictures of it. */
export interface OpenedSite {
  browser: Browser;
  url: string;
  screenshots: string;
}

/**
 * Builds the page of an example, serves it and starts a browser, before the tests of a block; and ends both after them.
 *
 * @param models the folder of what is served under `/model/`.
 * @param more arguments of the browser.
 */
export function openSite(
  example: string,
  models?: string,
  more: readonly string[] = [],
  options: ServeOptions = {},
): OpenedSite {
  const {place = 'examples'} = options;
  const opened = {screenshots: join(ROOT, place, example, 'output/screenshots')} as OpenedSite;
  let server: Server;
  beforeAll(async () => {
    buildSite(example, place);
    const served = await serveSite(example, models, options);
    server = served.server;
    mkdirSync(opened.screenshots, {recursive: true});
    Object.assign(opened, {url: served.url, browser: await launchBrowser(more)});
  });
  afterAll(async () => {
    await opened.browser.close();
    server.close();
  });
  return opened;
}

/** The files that a page gives when something is done in it, by their names. */
export async function downloads(page: Page, count: number, f: () => Promise<void>): Promise<Map<string, Buffer>> {
  const given: Download[] = [];
  const take = (download: Download) => given.push(download);
  page.on('download', take);
  await f();
  while (given.length < count) {
    await page.waitForEvent('download');
  }
  page.off('download', take);
  const files = given.map(async download => {
    const chunks: Buffer[] = [];
    for await (const chunk of await download.createReadStream()) {
      chunks.push(chunk as Buffer);
    }
    return [download.suggestedFilename(), Buffer.concat(chunks)] as const;
  });
  return new Map(await Promise.all(files));
}

/** Lists what a page does not deal with, and what it says are errors, as they come. */
export function collectErrors(page: Page): string[] {
  const errors: string[] = [];
  page.on('pageerror', error => errors.push(error.message));
  page.on('console', message => message.type() === 'error' && errors.push(message.text()));
  return errors;
}

/** What axe-core finds wrong with a page, a line each. */
export async function violations(page: Page): Promise<string[]> {
  // As code of the test: the policy of a page may forbid other scripts.
  await page.evaluate(readFileSync(join(ROOT, 'node_modules/axe-core/axe.min.js'), 'utf8'));
  return page.evaluate(async () => {
    const {axe} = window as unknown as {axe: typeof import('axe-core')};
    const {violations: found} = await axe.run();
    return found.flatMap(({id, nodes}) => nodes.map(({target}) => `${id}: ${target.join(' ')}`));
  });
}

/** How pages are looked at. */
export const LOOKS = (['desk', 'phone'] as const).flatMap(name =>
  (['light', 'dark'] as const).map(colorScheme => ({
    name,
    colorScheme,
    viewport: name === 'desk' ? {width: 1280, height: 900} : {width: 390, height: 844},
  })),
);
interface Look extends Omit<(typeof LOOKS)[number], 'name'> {
  /** What its pictures are called. */
  name: string;
}

/** Shows a page in one of these ways. */
export async function showAs(page: Page, {colorScheme, viewport}: Look): Promise<void> {
  await page.emulateMedia({colorScheme, reducedMotion: 'reduce'});
  await page.setViewportSize(viewport);
}

/** Takes a picture of a page that is shown so. Nothing may reach beyond its width, and axe-core may find nothing. */
export async function expectTidy(page: Page, {name, colorScheme, viewport}: Look, screenshots: string): Promise<void> {
  await page.screenshot({path: join(screenshots, `${name}-${colorScheme}.png`), fullPage: true});
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(viewport.width);
  expect(await violations(page)).toEqual([]);
}

/** Has the page press its own button to stop as soon as it tells of a step, however short the training is. */
export async function stopAtFirstStep(page: Page): Promise<void> {
  await page.evaluate(() => {
    const status = document.querySelector('#status')!;
    new MutationObserver((_, observer) => {
      if (status.textContent.startsWith('Step')) {
        observer.disconnect();
        document.querySelector<HTMLButtonElement>('#stop')!.click();
      }
    }).observe(status, {childList: true, characterData: true, subtree: true});
  });
}

/**
 * Expects that tfjs has started WASM in the page's worker, and no backend in the page itself, which stays free while the
 * worker trains. This holds on any machine, however slow or busy; a limit in milliseconds would not.
 */
export async function expectWorkerComputes(page: Page): Promise<void> {
  // tfjs-core keeps its engine in the global scope of each thread, and there the backends that were started.
  const backends = () => Object.keys((globalThis as {_tfengine?: {registry: object}})._tfengine?.registry ?? {});
  expect(await page.evaluate(backends)).toEqual([]);
  const inWorkers = await Promise.all(page.workers().map(worker => worker.evaluate(backends)));
  expect(inWorkers.flat()).toContain('wasm');
}
