import {copyFileSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {isTicket, makeOrders} from '../../examples/language/orders';
import {askedAs, examplesIn, SAMPLES} from '../../examples/language/src/texts';
import type {ChatRecord} from '../../src/extensions/records/chatRecords';
import {loadAdapter} from '../../src';
import {useBackend} from '../helpers';
import {temporaryFolder} from '../temporaryFolder';
import {describeInBrowser, expectTidy, expectWorkerComputes, LOOKS, showAs, stopAtFirstStep} from './site';
import {testsOfEveryPage, visitPage} from './visit';

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
  const visit = visitPage('language', {ready: 'Ready: the model uses 0', models});

  /** What the model answers to what is in the field. */
  async function ask(): Promise<string> {
    await visit.press('#send'); // the page says at once that it writes
    await visit.says('Answered');
    return (await visit.page.textContent('#answers li:first-child strong'))!;
  }

  test('it has examples at first, and counts what is pasted', async () => {
    expect(await visit.page.textContent('#count')).toBe('16 texts');
    await visit.page.fill('#texts', TEXTS);
    expect(await visit.page.textContent('#count')).toBe('3 texts');
    await visit.page.fill('#texts', '{"text": 5}');
    expect(await visit.page.textContent('#count')).toMatch(/text/);
    await visit.choose('own.txt', TEXTS);
    await visit.says('Opened own.txt: 3 texts');
  });

  let base: string;

  test('it learns, and shows the loss and what it writes after each epoch', async () => {
    await visit.page.fill('#text', 'the fox');
    base = await ask();
    await visit.type('#epochs', '40');
    await visit.press('#learn');
    await visit.saysAtOnce('Step \\d+ of 40, loss [\\d.]+, about \\d+ s left');
    await visit.says('Trained on 3 texts');
    expect(await visit.page.locator('#written li').count()).toBe(40);
    expect(await visit.page.getAttribute('#loss svg', 'aria-label')).toMatch(/^Loss; loss from \d/);
    expect(await visit.page.isChecked('#on')).toBe(true);
    expect(await ask()).not.toBe(base);
    expect(await visit.page.textContent('#answers li:first-child')).toMatch(/^With the adapter: the fox/);
  });

  testsOfEveryPage(visit, async () => {
    await visit.choose('letter.safetensors', 'Dear page,');
    await visit.page.locator('#status.fault').waitFor();
  });

  test('the worker computes, and not the page', () => expectWorkerComputes(visit.page));

  test('without what it has learned it answers as before', async () => {
    await visit.page.uncheck('#on');
    expect(await ask()).toBe(base);
    await visit.page.check('#on');
  });

  let file: Buffer;

  test('the adapter is a file for this library, for PEFT and for llama.cpp', async () => {
    file = (await visit.files('#save')).get('language.safetensors')!;
    await useBackend('cpu');
    expect(Object.keys((await loadAdapter(new Uint8Array(file))).config.layers)).toContain(
      'model/layers/0/self_attn/q_proj',
    );
    const files = new Map([...(await visit.files('#peft', 2)), ...(await visit.files('#gguf'))]);
    expect([...files.keys()]).toEqual(['adapter_config.json', 'adapter_model.safetensors', 'adapter.gguf']);
    expect(files.get('adapter.gguf')!.subarray(0, 4).toString()).toBe('GGUF');
  });

  test('texts and adapter are here again after a reload, and the adapter can be forgotten and opened', async () => {
    await visit.page.fill('#text', 'the fox');
    const learned = await ask();
    await visit.reload('Ready: .* Your previous adapter is restored');
    expect(await visit.page.inputValue('#texts')).toBe(TEXTS);
    await visit.page.fill('#text', 'the fox');
    expect(await ask()).toBe(learned);
    await visit.press('#forget');
    await visit.says('Adapter removed');
    expect(await ask()).toBe(base);
    await visit.choose('mine.safetensors', 'Dear page,');
    await visit.says('This is not|.*safetensors|.*header');
    await visit.choose('mine.safetensors', file);
    await visit.says('Opened mine.safetensors');
    expect(await ask()).toBe(learned);
  });

  test('training can be stopped and undone, and leaves no bar that is half full', async () => {
    await visit.page.fill('#epochs', '40');
    await stopAtFirstStep(visit.page);
    const before = await ask();
    await visit.page.click('#learn');
    await visit.says('Stopped after');
    expect(await visit.page.locator('#written li').count()).toBeLessThan(40);
    expect(await visit.page.isVisible('#progress')).toBe(false);
    expect(await ask()).not.toBe(before);
    expect(await visit.texts('#written li')).not.toContainEqual(expect.stringContaining('(nothing)'));
    await visit.undo('training');
    expect(await visit.page.locator('#written li').count()).toBe(0);
    expect(await ask()).toBe(before);
  });

  test('texts that were replaced are restored', async () => {
    await visit.page.click('#samples');
    expect(await visit.page.textContent('#count')).toBe('16 texts');
    await visit.page.focus('#epochs'); // in the texts, Ctrl+Z is the browser's
    await visit.page.keyboard.press('Control+z');
    await visit.says('Undone');
    expect(await visit.page.inputValue('#texts')).toBe(TEXTS);
  });

  test('it learns the answers in chats', async () => {
    const talk = (asked: string, content: string) =>
      JSON.stringify({
        messages: [
          {role: 'user', content: asked},
          {role: 'assistant', content},
        ],
      });
    await visit.page.fill('#texts', [talk('the fox', 'a dog'), talk('the dog', 'a cat')].join('\n'));
    expect(await visit.page.textContent('#count')).toBe('2 texts');
    await visit.page.uncheck('#on');
    const before = await ask();
    await visit.page.fill('#epochs', '20');
    await visit.page.click('#learn');
    await visit.says('Trained on 2 texts');
    expect(await ask()).not.toBe(before);
    await visit.page.fill('#texts', TEXTS);
  });

  test('answers are rated by keyboard, and the model learns from the ratings', async () => {
    await visit.page.focus('#texts-tab');
    await visit.page.keyboard.press('ArrowRight');
    expect(await visit.page.isVisible('#texts')).toBe(false);
    expect(await visit.page.textContent('#rated')).toBe('6 up, 6 down');
    expect(await visit.page.inputValue('#epochs')).toBe('20'); // of the visitor
    await visit.page.focus('#ratings li:first-child .thumb.up');
    await visit.page.keyboard.press('Enter');
    expect(await visit.page.textContent('#rated')).toBe('7 up, 5 down');
    expect(await visit.page.evaluate(() => document.activeElement?.ariaPressed)).toBe('true');
    await visit.page.fill('#text', 'the fox');
    const before = await ask();
    await visit.page.focus('#answers .thumb.down');
    await visit.page.keyboard.press('Space');
    expect(await visit.page.textContent('#rated')).toBe('7 up, 6 down');
    expect(await visit.page.textContent('#ratings li:first-child')).toBe(`the fox\n${before}✕`);
    await visit.page.fill('#epochs', '2');
    await visit.page.click('#learn:text-is("Learn from these")');
    await visit.says('Trained on 13 ratings');
    expect(await visit.page.locator('#written li').count()).toBe(4); // two on the answers that are liked, two by KTO
    await visit.undo('training');
    await visit.undo('rating');
    expect(await visit.page.textContent('#rated')).toBe('7 up, 5 down');
    await visit.page.click('#ratings li:first-child [aria-label^=Remove]');
    expect(await visit.page.textContent('#rated')).toBe('6 up, 5 down');
  });

  test('a training on ratings that is stopped keeps what it has learned', async () => {
    await visit.page.fill('#epochs', '40');
    await stopAtFirstStep(visit.page);
    await visit.page.click('#learn');
    await visit.says('Stopped after');
    expect(await visit.page.locator('#written li').count()).toBeLessThan(40);
  });

  test.each(LOOKS)('with ratings, it is $colorScheme on a $name and tidy', async look => {
    await showAs(visit.page, look);
    await expectTidy(visit.page, {...look, name: `${look.name}-ratings`}, visit.site.screenshots);
  });

  test('the page shows texts again', async () => {
    await visit.page.click('#texts-tab');
    expect(await visit.page.isVisible('#texts')).toBe(true);
  });

  test.each([
    [true, /^Opened large\.gguf: the model uses 0 MB of memory\. Its weights stay in the file\./],
    [false, /^Opened large\.gguf: the model uses 0 MB of memory\.$/],
  ])('it offers to leave the weights of a large model in its file: %s', async (isAccepted, opened) => {
    // A device with so little memory that any model is large.
    await visit.page.evaluate(() => {
      Object.defineProperty(navigator, 'deviceMemory', {value: 1e-6, configurable: true});
    });
    const questions: string[] = [];
    visit.page.once('dialog', dialog => {
      questions.push(dialog.message());
      void (isAccepted ? dialog.accept() : dialog.dismiss());
    });
    await visit.choose('large.gguf', readFileSync('test/fixtures/gguf/llama.gguf'));
    await visit.says('Opened large.gguf');
    expect(await visit.page.textContent('#status')).toMatch(opened);
    expect(questions).toEqual([expect.stringContaining('Leave its weights in the file?')]);
    await visit.page.fill('#text', 'the fox');
    expect(await ask()).toBe(base);
    await visit.page.fill('#epochs', '2');
    await visit.page.click('#learn');
    await visit.says('Trained on 3 texts');
  });

  test('after a reload the page has its own model again', async () => {
    await visit.reload('Ready');
  });
});
