import {copyFileSync, mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import type {Download, Page} from 'playwright-core';
import {isTicket, makeOrders} from '../../examples/language/data';
import {askedAs, examplesIn, SAMPLES} from '../../examples/language/src/texts';
import {fromSafetensors} from '../../src/storage/safetensors';
import {useBackend} from '../helpers';
import {collectErrors, describeInBrowser, longestTask, openSite, violations} from './site';

jest.setTimeout(240_000);

test('orders to learn from and to be asked have nothing in common, and their answers are tickets', () => {
  const {train, test: others} = makeOrders({train: 60, test: 20});
  expect([train.length, others.length]).toEqual([60, 20]);
  const ticket = ({completion}: {completion: string}) => completion.split('|')[1];
  expect(new Set([...train, ...others].map(ticket)).size).toBe(80);
  expect([...train, ...others].every(({completion}) => isTicket(completion))).toBe(true);
  expect(isTicket(' T4 | two TEA')).toBe(false);
});

test('texts are read with their answers behind an arrow, as JSON lines, or as a whole', () => {
  expect(examplesIn('a => b\n\n \nsome text\nof two lines\n')).toEqual([
    {prompt: 'a =>', completion: ' b'},
    {text: 'some text\nof two lines'},
  ]);
  expect(examplesIn('{"prompt": "x", "completion": "y"}\n{"text": "z"}')).toEqual([
    {prompt: 'x', completion: 'y'},
    {text: 'z'},
  ]);
  expect(examplesIn(SAMPLES).every(example => 'completion' in example && isTicket(example.completion))).toBe(true);
  expect(askedAs('a', examplesIn('a => b'))).toBe('a =>');
  expect(askedAs('a', examplesIn('some text'))).toBe('a');
});

const TEXTS = 'the fox => a dog\n\nthe dog => a cat\n\nthe cat => a fox';

describeInBrowser('the page that teaches a language model', () => {
  /** A tiny model in place of the real one. */
  const models = mkdtempSync(join(tmpdir(), 'language-page-'));
  copyFileSync('test/fixtures/gguf/llama.gguf', join(models, 'base.gguf'));
  afterAll(() => rmSync(models, {recursive: true}));
  const site = openSite('language', models);
  let page: Page;
  let errors: string[];
  let longest: number;

  beforeAll(async () => {
    page = await site.browser.newPage({viewport: {width: 1280, height: 1000}});
    errors = collectErrors(page);
    await page.goto(site.url);
    await says('Ready: the model takes 0');
  });

  /** Waits until the page says something that begins so. */
  async function says(begin: string): Promise<void> {
    await page.locator('#status', {hasText: new RegExp(`^${begin}`)}).waitFor({timeout: 120_000});
  }

  async function bytesOf(download: Download): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of await download.createReadStream()) {
      chunks.push(chunk as Buffer);
    }
    return Buffer.concat(chunks);
  }

  /** What the model answers to what is in the field. */
  async function ask(): Promise<string> {
    await page.click('#send'); // the page says at once that it writes
    await says('Answered');
    return (await page.textContent('#answers li:first-child strong'))!;
  }

  test('it has examples at first, and counts what is pasted', async () => {
    expect(await page.textContent('#count')).toBe('16 texts');
    await page.fill('#texts', TEXTS);
    expect(await page.textContent('#count')).toBe('3 texts');
    await page.fill('#texts', '{"text": 5}');
    expect(await page.textContent('#count')).toMatch(/text/);
    await page.setInputFiles('#file', {name: 'own.txt', mimeType: 'text/plain', buffer: Buffer.from(TEXTS)});
    await says('Opened own.txt: 3 texts');
  });

  let base: string;

  test('it learns, and shows the loss and what it writes after each epoch', async () => {
    await page.fill('#text', 'the fox');
    base = await ask();
    await page.fill('#epochs', '40');
    longest = await longestTask(page, async () => {
      await page.click('#learn');
      await says('Learned from 3 texts');
    });
    expect(await page.locator('#written li').count()).toBe(40);
    expect(await page.getAttribute('#loss svg', 'aria-label')).toMatch(/^Loss; loss from \d/);
    expect(await page.isChecked('#on')).toBe(true);
    expect(await ask()).not.toBe(base);
    expect(await page.textContent('#answers li:first-child')).toMatch(/^Adapted: the fox/);
  });

  test('the thread of the page is never busy for more than 100 ms', () => {
    expect(longest).toBeLessThan(100);
  });

  test('without what it has learned it answers as before', async () => {
    await page.uncheck('#on');
    expect(await ask()).toBe(base);
    await page.check('#on');
  });

  let file: Buffer;

  test('the adapter is a file for this library, for PEFT and for llama.cpp', async () => {
    const [own] = await Promise.all([page.waitForEvent('download'), page.click('#save')]);
    file = await bytesOf(own);
    await useBackend('cpu');
    expect(Object.keys(fromSafetensors(new Uint8Array(file)).config.layers)).toContain(
      'model/layers/0/self_attn/q_proj',
    );
    const files: Download[] = [];
    page.on('download', download => files.push(download));
    await page.click('#peft');
    await says('Downloaded two files');
    await Promise.all([
      page.waitForEvent('download', download => download.suggestedFilename() === 'adapter.gguf'),
      page.click('#gguf'),
    ]);
    const names = files.map(download => download.suggestedFilename());
    expect(names).toEqual(['adapter_config.json', 'adapter_model.safetensors', 'adapter.gguf']);
    expect((await bytesOf(files[2]!)).subarray(0, 4).toString()).toBe('GGUF');
  });

  test('texts and adapter are here again after a reload, and the adapter can be forgotten and opened', async () => {
    await page.fill('#text', 'the fox');
    const learned = await ask();
    await page.reload();
    await says('Ready: .* Your adapter from last time is here again');
    expect(await page.inputValue('#texts')).toBe(TEXTS);
    await page.fill('#text', 'the fox');
    expect(await ask()).toBe(learned);
    await page.click('#forget');
    await says('The adapter is gone');
    expect(await ask()).toBe(base);
    await page.setInputFiles('#file', {name: 'mine.safetensors', mimeType: '', buffer: Buffer.from('Dear page,')});
    await says('This is not|.*safetensors|.*header');
    await page.setInputFiles('#file', {name: 'mine.safetensors', mimeType: '', buffer: file});
    await says('Opened mine.safetensors');
    expect(await ask()).toBe(learned);
  });

  test('a training can be stopped', async () => {
    await page.fill('#epochs', '40');
    await page.click('#learn');
    await says('Step');
    await page.click('#stop');
    await says('Learned from 3 texts');
    expect(await page.locator('#written li').count()).toBeLessThan(40);
  });

  test.each([
    ['light', 'desk', 1280, 900],
    ['dark', 'desk', 1280, 900],
    ['light', 'phone', 390, 844],
    ['dark', 'phone', 390, 844],
  ] as const)('it is %s on a %s, tidy, and without a finding of axe-core', async (colorScheme, name, width, height) => {
    await page.emulateMedia({colorScheme, reducedMotion: 'reduce'});
    await page.setViewportSize({width, height});
    await page.screenshot({path: join(site.screenshots, `${name}-${colorScheme}.png`), fullPage: true});
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(width);
    expect(await violations(page)).toEqual([]);
  });

  test('it meets no error that it does not deal with', () => {
    expect(errors).toEqual([]);
  });
});
