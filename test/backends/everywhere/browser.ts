import {existsSync} from 'node:fs';
import {readFile} from 'node:fs/promises';
import {createServer, type Server} from 'node:http';
import type {AddressInfo} from 'node:net';
import {basename, dirname, join} from 'node:path';
import {setTimeout} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import {chromium} from 'playwright-core';
import {build, type Rollup} from 'vite';
import {entrySources} from '../../../scripts/entries';
import {ARGUMENTS as COMMON, manyCores, WEBGPU_ARGUMENTS} from '../../chromium';
import type {Outcome} from './case';
import type {Order} from './start';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, '../../..');
/** Folders whose files are served, with their type. */
const FOLDERS = [
  ['/wasm/', 'application/wasm', join(ROOT, 'node_modules/@tensorflow/tfjs-backend-wasm/dist')],
  ['/gguf/', 'application/octet-stream', join(ROOT, 'test/fixtures/gguf')],
] as const;

/** What Chromium is started with. */
export const ARGUMENTS = [...COMMON, ...WEBGPU_ARGUMENTS];

/** The browser of this machine, or `undefined`. */
export function findChromium(): string | undefined {
  const paths = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
  return [process.env.CHROMIUM ?? '', ...paths].find(path => path !== '' && existsSync(path));
}

/** A script as a page loads it, as `/suite.js`: files by their paths. */
export async function bundle(
  input: string,
  aliases: Readonly<Record<string, string>> = {},
): Promise<Map<string, string | Uint8Array>> {
  const built = (await build({
    root: dirname(input),
    configFile: false,
    logLevel: 'error',
    resolve: {
      alias: {...aliases, ...entrySources(ROOT)},
    },
    build: {
      write: false,
      target: 'esnext',
      minify: false,
      modulePreload: false,
      rollupOptions: {input, output: {entryFileNames: 'suite.js'}},
    },
  })) as Rollup.RollupOutput;
  return new Map(
    built.output.map(file => [`/${file.fileName}`, file.type === 'chunk' ? file.code : file.source] as const),
  );
}

/** Waits until a file may be sent, by its path; resolves to `false` where it is refused. */
export type Admission = (path: string) => Promise<boolean>;

const atOnce: Admission = () => Promise.resolve(true);

/** Serves files to this machine alone, and a page that runs the script. */
export async function serve(files: ReadonlyMap<string, string | Uint8Array>, admit = atOnce): Promise<Server> {
  const server = createServer((request, response) => {
    const path = request.url ?? '/';
    // What it takes to have threads, as wasm does.
    response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
    response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    const send = (type: string, body: string | Uint8Array) => response.setHeader('Content-Type', type).end(body);
    const file = files.get(path);
    const folder = FOLDERS.find(([begin]) => path.startsWith(begin));
    if (path === '/') {
      send(
        'text/html',
        '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/suite.js"></script>',
      );
    } else if (file !== undefined) {
      void admit(path).then(isAdmitted => {
        if (isAdmitted) {
          send('text/javascript', file);
        } else {
          response.writeHead(404).end();
        }
      });
    } else if (folder !== undefined) {
      const [, type, place] = folder;
      readFile(join(place, basename(path))).then(
        body => send(type, body),
        () => response.writeHead(404).end(),
      );
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return server;
}

/** The suite, ready for browsers to load it. */
export class ServedSuite {
  private constructor(
    private readonly server: Server,
    private readonly executablePath: string,
  ) {}

  /** @param admit what the server does before it sends a script. Default: it sends all of them at once. */
  static async start(executablePath: string, admit?: Admission): Promise<ServedSuite> {
    return new ServedSuite(await serve(await bundle(join(HERE, 'inBrowser.ts')), admit), executablePath);
  }

  /**
   * Runs the suite in each of `orders` in a browser of its own, for `patience` milliseconds at most each: a page for
   * each order, in one browser, which keeps the shaders that it has compiled.
   *
   * @param every runs one case in so many. Default: all of them.
   */
  async run(
    backend: string,
    orders: readonly Order[],
    report: (outcome: Outcome) => void,
    patience: number,
    every = 1,
  ): Promise<void> {
    const browser = await chromium.launch({executablePath: this.executablePath, args: ARGUMENTS});
    try {
      for (const order of orders) {
        const page = await browser.newPage();
        await page.addInitScript(manyCores(4));
        await page.exposeFunction('reportOutcome', report);
        await page.goto(`http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`);
        await page.waitForFunction(() => 'startSuite' in window);
        const suite = page.evaluate(([name, which, step]) => window.startSuite(name, which, step), [
          backend,
          order,
          every,
        ] as const);
        const seconds = patience / 1000;
        await Promise.race([
          suite,
          setTimeout(patience, undefined, {ref: false}).then(() =>
            Promise.reject(new Error(`No end after ${seconds} s.`)),
          ),
        ]);
        await page.close();
      }
    } finally {
      await browser.close();
    }
  }

  close(): void {
    this.server.close();
  }
}
