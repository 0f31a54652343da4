import type {Server} from 'node:http';
import type {AddressInfo} from 'node:net';
import {dirname, join} from 'node:path';
import {setTimeout} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import {type Browser, chromium, type Page} from 'playwright-core';
import {ARGUMENTS, bundle, findChromium, serve} from '../../backends/everywhere/browser';
import {randomFrom} from '../damage';
import type {Job, Outcome as JobOutcome} from '../job';
import type {Attacker} from '../pool';
import {caseSeed, kernelCase} from './cases';
import type {Outcome} from './outcome';
import {asOnCpu, faultOf} from './verdict';

const HERE = dirname(fileURLToPath(import.meta.url));
/** Long for one case, in a browser that computes on a processor. */
const SECONDS = 120;

/** Pages of one browser that compute kernel cases on a backend: one with stock tfjs, the other with the library. */
export class KernelPages implements Attacker {
  private constructor(
    private readonly backend: string,
    private readonly servers: readonly Server[],
    private readonly browser: Browser,
    private pages: readonly Page[],
  ) {}

  static async start(backend: string): Promise<KernelPages> {
    const executablePath = findChromium();
    if (executablePath === undefined) {
      throw new Error('Install Chromium (Debian: apt-get install chromium), or set CHROMIUM to its path.');
    }
    const servers: Server[] = [];
    for (const script of ['inPage.ts', 'inLibraryPage.ts']) {
      servers.push(await serve(await bundle(join(HERE, script))));
    }
    const browser = await chromium.launch({executablePath, args: ARGUMENTS});
    const started = new KernelPages(backend, servers, browser, []);
    await started.open();
    return started;
  }

  async carryOut({seed: jobSeed}: Job): Promise<JobOutcome> {
    const seed = caseSeed(randomFrom(jobSeed));
    const tried = {...kernelCase(randomFrom(seed)), isOdd: true as const};
    try {
      const [stock, ofLibrary] = await Promise.all(this.pages.map(page => this.outcomes(page, seed)));
      const [[cpu, onCard, what], [onCpu, actual]] = [stock!, ofLibrary!];
      if (what !== tried.what) {
        throw new Error(`The pages draw another case: ${what}`);
      }
      const ofCard = (outcome: Outcome) => asOnCpu(tried, this.backend, outcome, cpu);
      const fault = faultOf(tried, ofCard(actual), {stock: ofCard(onCard), cpu, ofLibrary: onCpu});
      return fault === undefined
        ? {result: typeof actual.results === 'string' ? 'refused' : 'loaded'}
        : {result: 'fault', what: `Kernel case ${seed}: ${fault}`};
    } catch (error) {
      await this.open();
      return {result: 'fault', what: `Kernel case ${seed}, ${tried.what}: ${String(error)}`};
    }
  }

  /** How often each kernel of the library ran. */
  async summary(): Promise<string> {
    const calls = await this.pages[1]!.evaluate(() => [...window.calls]);
    return `Calls of kernels on ${this.backend}: ${calls.map(([name, count]) => `${name} ${count}`).join(', ')}.`;
  }

  async stop(): Promise<void> {
    await this.browser.close();
    this.servers.forEach(server => server.close());
  }

  /** Opens the pages, anew if they are there. */
  private async open(): Promise<void> {
    await Promise.all(this.pages.map(page => page.close()));
    this.pages = await Promise.all(this.servers.map(server => this.openPage(server)));
  }

  private async openPage(server: Server): Promise<Page> {
    const page = await this.browser.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await page.waitForFunction(() => 'outcomesOf' in window);
    return page;
  }

  private outcomes(page: Page, seed: number): Promise<[cpu: Outcome, onBackend: Outcome, what: string]> {
    return Promise.race([
      page.evaluate(([backend, which]) => window.outcomesOf(backend, which), [this.backend, seed] as const),
      setTimeout(1000 * SECONDS, undefined, {ref: false}).then(() =>
        Promise.reject(new Error(`No end after ${SECONDS} s.`)),
      ),
    ]);
  }
}
