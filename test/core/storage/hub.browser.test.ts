import {createHash} from 'node:crypto';
import {join} from 'node:path';
import type {Browser, Page} from 'playwright-core';
import {PIECE_BYTES} from '../../../src/core/storage/hub/cache';
import {describeInBrowser, launchBrowser} from '../../examples/site';
import {HubServer} from '../../hubServer';
import {servePage} from '../../servedPage';
import type {} from './hubPage/page';

jest.setTimeout(180_000);

const LARGE = new Uint8Array(2.5 * PIECE_BYTES).fill(7);
const digestOf = (bytes: Uint8Array) => `${bytes.length} ${createHash('sha256').update(bytes).digest('hex')}`;

describeInBrowser('on a page', () => {
  let browser: Browser;
  let served: Awaited<ReturnType<typeof servePage>>;
  let page: Page;
  let server: HubServer;

  beforeAll(async () => {
    served = await servePage(join(__dirname, 'hubPage'), '', name => Promise.resolve(name !== 'name'));
    browser = await launchBrowser();
  });
  afterAll(async () => {
    await browser.close();
    served.close();
  });
  beforeEach(async () => {
    server = await new HubServer().start();
    page = await (await browser.newContext()).newPage();
    await page.goto(served.url);
    await page.waitForFunction(() => 'digestAt' in window);
    await use();
  });
  afterEach(async () => {
    await page.context().close();
    server.close();
    expect(server.leaks).toEqual([]);
  });

  const use = (token?: string) =>
    page.evaluate(([endpoint, key]) => void window.hub({endpoint, ...(key !== undefined && {token: key})}), [
      server.url,
      token,
    ] as const);
  const digestAt = (address: string) => page.evaluate(at => window.digestAt(at), address);

  test('files are read by way of another host, and kept with the Cache API', async () => {
    const commit = server.push('org/name', {'a.bin': LARGE, 'b.json': '{}', 'c.txt': ''});
    for (const [name, bytes] of Object.entries({
      'a.bin': LARGE,
      'b.json': Buffer.from('{}'),
      'c.txt': Buffer.from(''),
    })) {
      expect(await digestAt(`hf://org/name/${name}`)).toBe(digestOf(bytes));
    }
    server.isOffline = true;
    expect(await digestAt('hf://org/name/a.bin')).toBe(digestOf(LARGE));
    const files = await page.evaluate(() => window.cachedFiles());
    expect(files.sort()).toEqual(['a.bin', 'b.json', 'c.txt'].map(name => `hf://org/name@${commit}/${name}`));
    await page.evaluate(() => window.clearCache());
    await use();
    expect(await digestAt('hf://org/name/a.bin')).toContain('cannot be fetched, and is not in the cache');
  });

  test('the token is sent to the hub, and not to the host of the file', async () => {
    server.push('org/gated', {'a.bin': LARGE, 'b.txt': 'b'});
    server.gated.set('org/gated', 'hf_secret');
    expect(await digestAt('hf://org/gated/a.bin')).toContain('is gated or private (401');
    await use('hf_secret');
    expect(await digestAt('hf://org/gated/a.bin')).toBe(digestOf(LARGE));
    expect(await digestAt('hf://org/gated/b.txt')).toBe(digestOf(Buffer.from('b')));
  });

  test('a browser that may not drop the token at a redirect follows none with it', async () => {
    server.push('org/gated', {'a.bin': LARGE});
    server.gated.set('org/gated', 'hf_secret');
    await use('hf_secret');
    await page.evaluate(() => Reflect.deleteProperty(Promise, 'withResolvers'));
    expect(await digestAt('hf://org/gated/a.bin')).toContain('would pass the token on to another host');
    expect(server.asked('other')).toEqual([]);
  });

  test('headers that the hub does not expose are not needed', async () => {
    server.exposed = '';
    server.push('org/name', {'a.bin': LARGE, 'b.json': '{}'});
    expect(await digestAt('hf://org/name/a.bin')).toBe(digestOf(LARGE));
    expect(await digestAt('hf://org/name/b.json')).toBe(digestOf(Buffer.from('{}')));
    expect(await digestAt('hf://org/name/c.json')).toContain('has no file');
  });

  test('a download that breaks off continues after its last whole piece', async () => {
    server.push('org/name', {'a.bin': LARGE});
    server.faults.set('a.bin', {dropAfter: 1.5 * PIECE_BYTES, noRanges: true});
    expect(await digestAt('hf://org/name/a.bin')).toContain('broke off after byte');
    expect(await page.evaluate(() => window.cachedFiles())).toEqual([]);
    await use();
    server.faults.clear();
    expect(await digestAt('hf://org/name/a.bin')).toBe(digestOf(LARGE));
    expect(server.requests.at(-1)).toContain(`bytes=${PIECE_BYTES}-`);
  });

  test('a full disk is an error by name, and leaves nothing of the file', async () => {
    server.push('org/name', {'a.bin': LARGE});
    const session = await page.context().newCDPSession(page);
    await session.send('Storage.overrideQuotaForOrigin', {origin: new URL(served.url).origin, quotaSize: PIECE_BYTES});
    expect(await digestAt('hf://org/name/a.bin')).toContain('The cache of hub files cannot be written');
    expect(await page.evaluate(() => window.cachedFiles())).toEqual([]);
  });

  test('a plain org/name that the page does not have is answered with its hf:// address', async () => {
    const message = await page.evaluate(() => window.loadAdapter('org/name').catch((error: unknown) => String(error)));
    expect(message).toContain('write "hf://org/name"');
  });
});
