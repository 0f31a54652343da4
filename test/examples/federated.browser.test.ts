import {mkdirSync, readFileSync} from 'node:fs';
import type {Server} from 'node:http';
import {join} from 'node:path';
import type {Browser, Page} from 'playwright-core';
import {digitsOf} from '../../examples/federated/data';
import {adapt, CLIENTS, ownDigits} from '../../examples/federated/task';
import {network} from '../../examples/shared/network';
import {fileHandler, saveAdapter} from '../../src/index';
import {emptyTask, SuperLink} from '../extensions/federated/superLink';
import {useBackend} from '../helpers';
import {temporaryFolder} from '../temporaryFolder';
import {buildSite, collectErrors, describeInBrowser, expectTidy, launchBrowser, LOOKS, serveSite, showAs} from './site';

jest.setTimeout(240_000);

beforeAll(() => useBackend('wasm'));

test('every digit belongs to one client, and each client has mostly kinds of its own', () => {
  const all = digitsOf('all', 1);
  const parts = Array.from({length: CLIENTS}, (_, client) => ownDigits(all, client, 1));
  expect(parts.reduce((sum, {images}) => sum + images.shape[0], 0)).toBe(all.images.shape[0]);
  for (const [client, {labels}] of parts.entries()) {
    const kinds = [...labels.sum(0).dataSync()];
    const own = kinds.filter((_, digit) => Math.floor((digit * CLIENTS) / 10) === client);
    const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
    expect(sum(own)).toBeGreaterThan(sum(kinds) / 2);
  }
});

/** What `tf` needs is to compile wasm; nothing may make code from text. */
const POLICY =
  "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data:; style-src 'self' 'unsafe-inline'";

describeInBrowser('the page of a client', () => {
  const models = temporaryFolder();
  const screenshots = 'examples/federated/output/screenshots';
  const link = new SuperLink([emptyTask('train'), emptyTask('evaluate')]);
  let server: Server;
  let browser: Browser;
  let page: Page;
  let errors: string[];
  let address: string;

  beforeAll(async () => {
    const base = network(11);
    await base.save(fileHandler(models));
    await saveAdapter(adapt(base, 'lora-fa', 1), fileHandler(join(models, 'start.safetensors')));
    buildSite('federated');
    mkdirSync(screenshots, {recursive: true});
    const flower = await link.start();
    const served = await serveSite('federated', models, {
      headers: {'content-security-policy': POLICY},
      passOn: ['/flower', flower],
    });
    server = served.server;
    browser = await launchBrowser();
    page = await browser.newPage({viewport: {width: 1280, height: 900}});
    errors = collectErrors(page);
    address = `${served.url}?client=2`;
    await page.goto(address);
    await says('Ready');
  });

  afterAll(async () => {
    await browser.close();
    server.close();
    await link.stop();
  });

  async function says(begin: string): Promise<void> {
    await page.locator('#status', {hasText: new RegExp(`^${begin}`)}).waitFor({timeout: 60_000});
  }

  async function publicKey(): Promise<string> {
    const download = page.waitForEvent('download');
    await page.click('#key');
    return readFileSync(await (await download).path(), 'utf8');
  }

  test('shows what this client has', async () => {
    expect(await page.textContent('#data-title')).toBe('Data of client 2');
    expect(await page.locator('#digits canvas').count()).toBe(60);
    expect(await page.locator('#kinds li').count()).toBe(10);
    expect(await page.locator('#others a').allTextContents()).toEqual(['client 1', 'client 3', 'client 4']);
  });

  test('takes part in a round without making code from text, and says what it sent', async () => {
    await page.click('#join');
    await says('Over: this client trained in 1 round, sent [\\d,]+ bytes and received [\\d,]+. Its digits never left');
    expect(await page.textContent('#round')).toBe('1');
    expect(Number(await page.textContent('#loss'))).toBeGreaterThan(0);
    expect(await page.textContent('#accuracy')).toMatch(/^[\d.]+ %$/);
    expect(await page.textContent('#bytes')).toMatch(/^[\d.]+ kB$/);
    expect(link.pushed).toHaveLength(2);
    // The adapter of five small layers, and nothing of the digits.
    const sent = [...link.pushed[0]!.objects.values()].reduce((sum, {length}) => sum + length, 0);
    expect(sent).toBeLessThan(10_000);
    expect(errors).toEqual([]);
  });

  test('comes back as the same node, by the key in its IndexedDB', async () => {
    expect(link.nodes.size).toBe(1);
    const before = await publicKey();
    expect(before).toMatch(/^ecdsa-sha2-nistp384 [A-Za-z0-9+/=]+\n$/);
    link.isRunning = true;
    link.tasks.push(emptyTask('train', 2));
    await page.reload();
    await says('Ready');
    expect(await publicKey()).toBe(before);
    await page.click('#join');
    await says('Over: this client trained in 1 round,');
    expect(link.nodes.size).toBe(1);
  });

  test('is clear in light and dark, on a phone too', async () => {
    // axe comes as a script in the page, which the policy forbids.
    const looked = await browser.newPage({bypassCSP: true});
    await looked.goto(address);
    await looked.locator('#status', {hasText: 'Ready'}).waitFor();
    for (const look of LOOKS) {
      await showAs(looked, look);
      await expectTidy(looked, look, screenshots);
    }
    await looked.close();
  });
});
