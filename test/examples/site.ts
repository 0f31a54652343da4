import {spawnSync} from 'node:child_process';
import {existsSync, readFileSync} from 'node:fs';
import {createServer, type Server} from 'node:http';
import {join} from 'node:path';
import {type Browser, chromium, type Page} from 'playwright-core';
import {ARGUMENTS, CHROMIUM, contentType, listen} from '../chromium';
import {describeUnless} from '../missing';

const ROOT = join(__dirname, '../..');

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

export function launchBrowser(more: readonly string[] = []): Promise<Browser> {
  return chromium.launch({executablePath: CHROMIUM, args: [...ARGUMENTS, ...more]});
}

/** Builds the page of an example, with the library as it is built. */
export function buildSite(example: string): void {
  if (!existsSync(join(ROOT, 'dist/index.js'))) {
    throw new Error('The library is not built. Run `npm run build` first; `npm test` does.');
  }
  const vite = join(ROOT, 'node_modules/vite/bin/vite.js');
  const {status, stderr} = spawnSync(process.execPath, [vite, 'build', `examples/${example}`, '--logLevel', 'error'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  if (status !== 0) {
    throw new Error(`The page could not be built: ${stderr}`);
  }
}

/** Serves the built page of an example on this machine, and under `/model/` the files of a folder. */
export async function serveSite(example: string, models = ''): Promise<{url: string; server: Server}> {
  const site = join(ROOT, 'examples', example, 'output/site');
  const server = createServer((request, response) => {
    const {pathname} = new URL(request.url ?? '/', 'http://localhost');
    const isModel = models !== '' && pathname.startsWith('/model/');
    const [folder, path] = isModel ? [models, pathname.slice('/model/'.length)] : [site, pathname];
    const file = join(folder, path === '/' ? 'index.html' : path);
    if (!file.startsWith(folder) || !existsSync(file)) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, {'content-type': contentType(file)});
    response.end(readFileSync(file));
  });
  return {url: `${await listen(server)}/`, server};
}

/** An event of Chromium's tracing. */
interface TraceEvent {
  name: string;
  pid: number;
  tid: number;
  /** Time of the thread in microseconds. */
  tdur?: number;
  args: {name?: string};
}

/**
 * The longest that the page's own thread works at one stretch while `f` runs, in milliseconds. It is the thread's time,
 * not the wall's, so that other programs on the machine do not count.
 */
export async function longestTask(page: Page, f: () => Promise<void>): Promise<number> {
  const browser = page.context().browser()!;
  await browser.startTracing(page, {categories: ['toplevel']});
  await f();
  const {traceEvents} = JSON.parse((await browser.stopTracing()).toString()) as {traceEvents: TraceEvent[]};
  const thread = ({pid, tid}: TraceEvent) => `${pid} ${tid}`;
  const pageThreads = traceEvents
    .filter(({name, args}) => name === 'thread_name' && args.name === 'CrRendererMain')
    .map(thread);
  const times = traceEvents
    .filter(event => event.tdur !== undefined && pageThreads.includes(thread(event)))
    .map(({tdur = 0}) => tdur / 1000);
  if (times.length === 0) {
    throw new Error('The trace holds nothing of the page.');
  }
  return Math.max(...times);
}
