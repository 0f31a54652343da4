import {existsSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {createServer, type Server} from 'node:http';
import {join} from 'node:path';
import type {Browser, Page} from 'playwright-core';
import {listen, contentType, manyCores} from '../chromium';
import {textsUnder} from '../docs/pages';
import {launchBrowser} from '../examples/site';
import {makeProject, runIn} from './project';

const PAGE = 'docs/bundlers.md';
const [WASM_FILES = ''] = textsUnder(PAGE, 'Vite and webpack', 'js');
const [VITE = '', WEBPACK = '', LOADER = ''] = textsUnder(PAGE, 'Threads in a minified page', 'js');

/** Vite's configuration, as docs/bundlers.md has it. */
export const VITE_CONFIG = VITE;

const ISOLATION = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
};

/** Where to go, and a pattern of what cannot be had there. */
interface Visit {
  url?: string;
  without?: string;
}

/** A project that has the packed library, bundlers and the files of docs/bundlers.md; a server; and a browser. */
export class BundledSite {
  private constructor(
    readonly project: string,
    readonly origin: string,
    private readonly server: Server,
    private readonly browser: Browser,
    private readonly site: {folder: string; isolated: boolean},
  ) {}

  static async open(): Promise<BundledSite> {
    const project = makeProject(['@tensorflow', 'vite', 'webpack']);
    const site = {folder: project, isolated: false};
    // As hosts of pages of one file do, it answers every other address with that file.
    const server = createServer((request, response) => {
      const {pathname} = new URL(request.url ?? '/', 'http://localhost');
      const asked = join(site.folder, pathname);
      const file = pathname !== '/' && existsSync(asked) ? asked : join(site.folder, 'index.html');
      response.writeHead(200, {'content-type': contentType(file), ...(site.isolated ? ISOLATION : {})});
      response.end(readFileSync(file));
    });
    const opened = new BundledSite(project, await listen(server), server, await launchBrowser(), site);
    opened.write({
      'index.html': '<!doctype html><script type="module" src="/main.js"></script>',
      'wasmFiles.js': WASM_FILES,
      'tfjsThreads.cjs': LOADER,
      'webpack.config.cjs': WEBPACK,
    });
    return opened;
  }

  async close(): Promise<void> {
    await this.browser.close();
    this.server.close();
    rmSync(this.project, {recursive: true, force: true});
  }

  /** Writes files of the project. */
  write(files: Readonly<Record<string, string>>): void {
    Object.entries(files).forEach(([name, text]) => writeFileSync(join(this.project, name), text));
  }

  /** Says which folder of the project is served, and whether its pages are isolated. */
  serve(folder: string, isolated = false): void {
    Object.assign(this.site, {folder: join(this.project, folder), isolated});
  }

  /** Has Vite build the page to `dist`. */
  async buildWithVite(config: string): Promise<void> {
    this.write({'vite.config.js': config});
    await this.run(['node_modules/vite/bin/vite.js', 'build', '--logLevel', 'error']);
  }

  /**
   * Has webpack build `main.js` to `packed`, where a page loads it.
   *
   * @param options more of its configuration, as text of JavaScript.
   * @param scripts what the page loads before.
   */
  async buildWithWebpack(options: string, scripts: readonly string[] = []): Promise<void> {
    const output = `{path: import.meta.dirname + '/packed', publicPath: '/'}`;
    this.write({
      'pack.mjs': `
        import webpack from 'webpack';
        import config from './webpack.config.cjs';
        const options = {...config, context: import.meta.dirname, output: ${output}, ...${options}};
        webpack(options, (error, stats) => {
          if (error !== null || stats.hasErrors()) {
            throw error ?? new Error(stats.toString());
          }
        });`,
    });
    await this.run(['pack.mjs']);
    const tags = [...scripts, '/main.js'].map(path => `<script src="${path}"></script>`);
    this.write({'packed/index.html': `<!doctype html><link rel="icon" href="data:,">${tags.join('')}`});
  }

  /** Opens a page in a browser of somebody who was never there, and gives it with what it complains of. */
  async visit({url = this.origin, without}: Visit = {}): Promise<{page: Page; complaints: string[]}> {
    const page = await (await this.browser.newContext()).newPage();
    await page.addInitScript(manyCores(4));
    if (without !== undefined) {
      await page.context().route(without, route => route.abort());
    }
    const complaints: string[] = [];
    page.on('pageerror', error => complaints.push(error.message));
    page.on('console', message => complaints.push(message.text()));
    await page.goto(url);
    return {page, complaints};
  }

  /** What a page has put into `window.result`, once it has. */
  async resultOf<Result>(visit?: Visit): Promise<Result> {
    const {page, complaints} = await this.visit(visit);
    await page
      .waitForFunction(() => 'result' in window)
      .catch((error: unknown) => {
        throw new Error(`${String(error)}\n${complaints.join('\n')}`);
      });
    const result = await page.evaluate(() => (window as unknown as {result: Result}).result);
    await page.context().close();
    return result;
  }

  private async run(args: readonly string[]): Promise<void> {
    const {code, output} = await runIn(this.project, args);
    if (code !== 0) {
      throw new Error(`The page could not be built: ${output}`);
    }
  }
}
