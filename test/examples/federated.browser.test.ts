import {join} from 'node:path';
import {digitsOf} from '../../examples/federated/data';
import {adapt, CLIENTS, ownDigits} from '../../examples/federated/task';
import {network} from '../../examples/shared/network';
import {fileHandler, saveAdapter} from '../../src/index';
import {emptyTask, SuperLink} from '../extensions/federated/superLink';
import {useBackend} from '../helpers';
import {temporaryFolder} from '../temporaryFolder';
import {describeInBrowser} from './site';
import {testsOfEveryPage, visitPage} from './visit';

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
  const link = new SuperLink([emptyTask('train'), emptyTask('evaluate')]);
  const passOn: [path: string, address: string] = ['/flower', ''];

  beforeAll(async () => {
    const base = network(11);
    await base.save(fileHandler(models));
    await saveAdapter(adapt(base, 'lora-fa', 1), fileHandler(join(models, 'start.safetensors')));
    passOn[1] = await link.start();
  });
  afterAll(() => link.stop());
  const visit = visitPage('federated', {
    ...{models, query: '?client=2', serve: {headers: {'content-security-policy': POLICY}, passOn}},
    handled: error => error.includes('404'), // a model that is missing
  });

  async function publicKey(): Promise<string> {
    return [...(await visit.files('#key')).values()][0]!.toString();
  }

  test('shows what this client has', async () => {
    expect(await visit.page.textContent('#data-title')).toBe('Data of client 2');
    expect(await visit.page.locator('#digits canvas').count()).toBe(60);
    expect(await visit.page.locator('#kinds li').count()).toBe(10);
    expect(await visit.page.locator('#others a').allTextContents()).toEqual(['client 1', 'client 3', 'client 4']);
  });

  test('takes part in a round without making code from text, and says what it sent', async () => {
    await visit.press('#join');
    await visit.says(
      'Over: this client trained in 1 round, sent [\\d,]+ bytes and received [\\d,]+. Its digits never left',
    );
    expect(await visit.page.textContent('#round')).toBe('1');
    expect(Number(await visit.page.textContent('#loss'))).toBeGreaterThan(0);
    expect(await visit.page.textContent('#accuracy')).toMatch(/^[\d.]+ %$/);
    expect(await visit.page.textContent('#bytes')).toMatch(/^[\d.]+ kB$/);
    expect(link.pushed).toHaveLength(2);
    // The adapter of five small layers, and nothing of the digits.
    const sent = [...link.pushed[0]!.objects.values()].reduce((sum, {length}) => sum + length, 0);
    expect(sent).toBeLessThan(10_000);
    expect(visit.errors).toEqual([]);
  });

  test('comes back as the same node, by the key in its IndexedDB', async () => {
    expect(link.nodes.size).toBe(1);
    const before = await publicKey();
    expect(before).toMatch(/^ecdsa-sha2-nistp384 [A-Za-z0-9+/=]+\n$/);
    link.isRunning = true;
    link.tasks.push(emptyTask('train', 2));
    await visit.reload('Ready');
    expect(await publicKey()).toBe(before);
    await visit.press('#join');
    await visit.says('Over: this client trained in 1 round,');
    expect(link.nodes.size).toBe(1);
  });

  testsOfEveryPage(
    visit,
    async () => {
      await visit.page.route('**/model/*', route => route.fulfill({status: 404}));
      await visit.page.reload();
      await visit.page.locator('#status.fault').waitFor();
    },
    'join',
  );
});
