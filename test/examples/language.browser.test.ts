import {copyFileSync} from 'node:fs';
import {join} from 'node:path';
import type {Page} from 'playwright-core';
import {isTicket, makeOrders} from '../../examples/language/data';
import {askedAs, examplesIn, SAMPLES} from '../../examples/language/src/texts';
import type {ChatRecord} from '../../src/extensions/records/chatRecords';
import {loadAdapter} from '../../src';
import {useBackend} from '../helpers';
import {temporaryFolder} from '../temporaryFolder';
import {
  collectErrors,
  describeInBrowser,
  downloads,
  expectTidy,
  longestTask,
  LOOKS,
  openSite,
  showAs,
  stopAtFirstStep,
} from './site';

jest.setTimeout(240_000);

test('orders to learn from and to be asked have nothing in common, and their answers are tickets', () => {
  const {train, test: others} = makeOrders({train: 60, test: 20});
  expect([train.length, others.length]).toEqual([60, 20]);
  const ticket = ({completion}: {completion: string}) => completion.split('|')[1];
  expect(new Set([...train, ...others].map(ticket)).size).toBe(80);
  expect([...train, ...others].every(({completion}) => isTicket(completion))).toBe(true);
  expect(isTicket(' T4 | two TEA')).toBe(false);
});

test('texts are read with answers behind an arrow, as JSON lines, or as a whole', () => {
  expect(examplesIn('a => b\n\n \nsome text\nof two lines\n')).toEqual([
    {prompt: 'a =>', completion: ' b'},
    {text: 'some text\nof two lines'},
  ]);
  expect(examplesIn('{"prompt": "x", "completion": "y"}\n{"text": "z"}')).toEqual([
    {prompt: 'x', completion: 'y'},
    {text: 'z'},
  ]);
  const isAnswered = (example: ChatRecord) => 'completion' in example && isTicket(example.completion as string);
  expect(examplesIn(SAMPLES).every(isAnswered)).toBe(true);
  expect(askedAs('a', examplesIn('a => b'))).toBe('a =>');
  expect(askedAs('a', examplesIn('some text'))).toBe('a');
});

test('chats are learned as they are, and a prompt becomes a chat with their system message', () => {
  const [system, user, assistant] = [
    {role: 'system', content: 'Be brief.'},
    {role: 'user', content: 'Hello!'},
    {role: 'assistant', content: 'Yes?'},
  ];
  const talks = examplesIn(JSON.stringify({messages: [system, user, assistant]}));
  expect(talks).toEqual([{messages: [system, user, assistant]}]);
  expect(askedAs('Who?', talks)).toEqual([system, {role: 'user', content: 'Who?'}]);
  expect(askedAs('Who?', examplesIn(JSON.stringify({messages: [user, assistant]})))).toEqual([
    {role: 'user', content: 'Who?'},
  ]);
  const inParts = examplesIn(JSON.stringify({prompt: [system, user], completion: [assistant]}));
  expect(askedAs('Who?', inParts)).toEqual([system, {role: 'user', content: 'Who?'}]);
  expect(askedAs('Who?', [])).toEqual([{role: 'user', content: 'Who?'}]);
});

const TEXTS = 'the fox => a dog\n\nthe dog => a cat\n\nthe cat => a fox';

describeInBrowser('the page that teaches a language model', () => {
  /** A tiny model in place of the real one. */
  const models = temporaryFolder();
  copyFileSync('test/fixtures/gguf/llama.gguf', join(models, 'base.gguf'));
  const site = openSite('language', models);
  let page: Page;
  let errors: string[];
  let longest: number;

  beforeAll(async () => {
    page = await site.browser.newPage({viewport: {width: 1280, height: 1000}});
    errors = collectErrors(page);
    await page.goto(site.url);
    await says('Ready: the model uses 0');
  });

  /** Waits until the page says something that begins so. */
  async function says(begin: string): Promise<void> {
    await page.locator('#status', {hasText: new RegExp(`^${begin}`)}).waitFor({timeout: 120_000});
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
      await says('Step \\d+ of 40, loss [\\d.]+, about \\d+ s left');
      await says('Trained on 3 texts');
    });
    expect(await page.locator('#written li').count()).toBe(40);
    expect(await page.getAttribute('#loss svg', 'aria-label')).toMatch(/^Loss; loss from \d/);
    expect(await page.isChecked('#on')).toBe(true);
    expect(await ask()).not.toBe(base);
    expect(await page.textContent('#answers li:first-child')).toMatch(/^With the adapter: the fox/);
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
    const own = await downloads(page, 1, () => page.click('#save'));
    file = [...own.values()][0]!;
    await useBackend('cpu');
    expect(Object.keys((await loadAdapter(new Uint8Array(file))).config.layers)).toContain(
      'model/layers/0/self_attn/q_proj',
    );
    const files = await downloads(page, 3, async () => {
      await page.click('#peft');
      await says('Downloaded two files');
      await page.click('#gguf');
    });
    expect([...files.keys()]).toEqual(['adapter_config.json', 'adapter_model.safetensors', 'adapter.gguf']);
    expect(files.get('adapter.gguf')!.subarray(0, 4).toString()).toBe('GGUF');
  });

  test('texts and adapter are here again after a reload, and the adapter can be forgotten and opened', async () => {
    await page.fill('#text', 'the fox');
    const learned = await ask();
    await page.reload();
    await says('Ready: .* Your previous adapter is restored');
    expect(await page.inputValue('#texts')).toBe(TEXTS);
    await page.fill('#text', 'the fox');
    expect(await ask()).toBe(learned);
    await page.click('#forget');
    await says('Adapter removed');
    expect(await ask()).toBe(base);
    await page.setInputFiles('#file', {name: 'mine.safetensors', mimeType: '', buffer: Buffer.from('Dear page,')});
    await says('This is not|.*safetensors|.*header');
    await page.setInputFiles('#file', {name: 'mine.safetensors', mimeType: '', buffer: file});
    await says('Opened mine.safetensors');
    expect(await ask()).toBe(learned);
  });

  test('training can be stopped and undone, and leaves no bar that is half full', async () => {
    await page.fill('#epochs', '40');
    await stopAtFirstStep(page);
    const before = await ask();
    await page.click('#learn');
    await says('Stopped after');
    expect(await page.locator('#written li').count()).toBeLessThan(40);
    expect(await page.isVisible('#progress')).toBe(false);
    expect(await ask()).not.toBe(before);
    await page.click('#undo:text-is("Undo: training")');
    await says('Undone');
    expect(await ask()).toBe(before);
  });

  test('texts that were replaced are restored', async () => {
    await page.click('#samples');
    expect(await page.textContent('#count')).toBe('16 texts');
    await page.focus('#epochs'); // in the texts, Ctrl+Z is the browser's
    await page.keyboard.press('Control+z');
    await says('Undone');
    expect(await page.inputValue('#texts')).toBe(TEXTS);
  });

  test('it learns the answers in chats', async () => {
    const talk = (asked: string, content: string) =>
      JSON.stringify({
        messages: [
          {role: 'user', content: asked},
          {role: 'assistant', content},
        ],
      });
    await page.fill('#texts', [talk('the fox', 'a dog'), talk('the dog', 'a cat')].join('\n'));
    expect(await page.textContent('#count')).toBe('2 texts');
    await page.uncheck('#on');
    const before = await ask();
    await page.fill('#epochs', '20');
    await page.click('#learn');
    await says('Trained on 2 texts');
    expect(await ask()).not.toBe(before);
    await page.fill('#texts', TEXTS);
  });

  test('answers are rated by keyboard, and the model learns from the ratings', async () => {
    await page.focus('#texts-tab');
    await page.keyboard.press('ArrowRight');
    expect(await page.isVisible('#texts')).toBe(false);
    expect(await page.textContent('#rated')).toBe('6 up, 6 down');
    expect(await page.inputValue('#epochs')).toBe('20'); // of the visitor
    await page.focus('#ratings li:first-child .thumb.up');
    await page.keyboard.press('Enter');
    expect(await page.textContent('#rated')).toBe('7 up, 5 down');
    expect(await page.evaluate(() => document.activeElement?.ariaPressed)).toBe('true');
    await page.fill('#text', 'the fox');
    const before = await ask();
    await page.focus('#answers .thumb.down');
    await page.keyboard.press('Space');
    expect(await page.textContent('#rated')).toBe('7 up, 6 down');
    expect(await page.textContent('#ratings li:first-child')).toBe(`the fox\n${before}✕`);
    await page.fill('#epochs', '2');
    await page.click('#learn:text-is("Learn from these")');
    await says('Trained on 13 ratings');
    expect(await page.locator('#written li').count()).toBe(4); // two on the answers that are liked, two by KTO
    await page.click('#undo:text-is("Undo: training")');
    await says('Undone');
    await page.click('#undo:text-is("Undo: rating")');
    expect(await page.textContent('#rated')).toBe('7 up, 5 down');
    await page.click('#ratings li:first-child [aria-label^=Remove]');
    expect(await page.textContent('#rated')).toBe('6 up, 5 down');
  });

  test('a training on ratings that is stopped keeps what it has learned', async () => {
    await page.fill('#epochs', '40');
    await stopAtFirstStep(page);
    await page.click('#learn');
    await says('Stopped after');
    expect(await page.locator('#written li').count()).toBeLessThan(40);
  });

  test.each(LOOKS)('it is $colorScheme on a $name, tidy, and without a finding of axe-core', async look => {
    await showAs(page, look);
    await page.click('#texts-tab');
    await expectTidy(page, look, site.screenshots);
    await page.click('#ratings-tab');
    await expectTidy(page, look, join(site.screenshots, 'ratings'));
  });

  test('it meets no error that it does not deal with', () => {
    expect(errors).toEqual([]);
  });
});
