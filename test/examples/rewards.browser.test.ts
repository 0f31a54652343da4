import {copyFileSync} from 'node:fs';
import {join} from 'node:path';
import {loadAdapter} from '../../src';
import {useBackend} from '../helpers';
import {temporaryFolder} from '../temporaryFolder';
import {describeInBrowser, expectWorkerComputes, stopAtFirstStep} from './site';
import {testsOfEveryPage, visitPage} from './visit';

jest.setTimeout(240_000);

describeInBrowser('the page that teaches a language model by rewards', () => {
  /** A tiny model in place of the real one. */
  const models = temporaryFolder();
  copyFileSync('test/fixtures/gguf/llama.gguf', join(models, 'base.gguf'));
  const visit = visitPage('rewards', {ready: 'Ready: the model uses 0', models});

  /** What the model answers to what is in the field. */
  async function ask(): Promise<string> {
    await visit.press('#send');
    await visit.says('Answered');
    return (await visit.page.textContent('#answers li:first-child strong'))!;
  }

  test('it has an example at first, and others can be chosen and undone', async () => {
    expect(await visit.page.textContent('#count')).toBe('10 questions');
    expect(await visit.page.inputValue('#words')).toBe('12');
    await visit.page.selectOption('#preset', 'json');
    await visit.page.click('#use');
    expect(await visit.page.inputValue('#json')).toBe('name, color');
    expect(await visit.page.inputValue('#words')).toBe('0');
    expect(await visit.page.inputValue('#tokens')).toBe('32');
    await visit.undo('example');
    expect(await visit.page.inputValue('#words')).toBe('12');
  });

  let base: string;

  test('it learns, and shows the reward and the answers of each step', async () => {
    await visit.page.fill('#questions', 'the fox\n\n the dog ');
    expect(await visit.page.textContent('#count')).toBe('2 questions');
    await visit.page.fill('#words', '0');
    await visit.page.fill('#code', 'answer => (answer.match(/[aeiou]/g) ?? []).length / (answer.length + 1)');
    await visit.page.fill('#steps', '30');
    await visit.page.fill('#tokens', '12');
    await visit.page.fill('#text', 'the fox');
    base = await ask();
    await visit.page.locator('#answers li:first-child', {hasText: 'Rewards: function '}).waitFor();
    await visit.press('#learn');
    await visit.saysAtOnce('Step \\d+ of 30, reward [\\d.]+, about \\d+ s left');
    await visit.says('Trained for 30 steps');
    expect(await visit.page.textContent('#status')).toMatch(
      /the mean reward went from \d\.\d\d in the first 8 to \d\.\d\d in the last 8\./,
    );
    expect(await visit.page.locator('#written li').count()).toBe(30);
    expect(await visit.page.textContent('#written li:first-child')).toMatch(/^Step 30: the (fox|dog)\n\d\.\d\d /);
    expect(await visit.page.getAttribute('#reward svg', 'aria-label')).toMatch(/^Mean reward; reward from \d/);
    expect(await visit.page.isChecked('#on')).toBe(true);
    expect(await ask()).not.toBe(base);
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

  test('training goes on from the adapter, can be stopped by keyboard, and undone', async () => {
    const before = await ask();
    await visit.page.fill('#steps', '200');
    await stopAtFirstStep(visit.page);
    await visit.page.focus('#learn');
    await visit.page.keyboard.press('Enter');
    await visit.says('Stopped after');
    const count = await visit.page.locator('#written li').count();
    expect(count).toBeGreaterThan(30);
    expect(count).toBeLessThan(230);
    await visit.undo('training');
    expect(await visit.page.locator('#written li').count()).toBe(30);
    expect(await ask()).toBe(before);
  });

  let file: Buffer;

  test('the adapter is a file, and is here again after a reload with what was written', async () => {
    const learned = await ask();
    file = (await visit.files('#save')).get('rewards.safetensors')!;
    await useBackend('cpu');
    expect(Object.keys((await loadAdapter(new Uint8Array(file))).config.layers)).toContain(
      'model/layers/0/self_attn/o_proj',
    );
    expect([...(await visit.files('#peft', 2)).keys()]).toContain('adapter_config.json');
    await visit.reload('Ready: .* Your previous adapter is restored');
    expect(await visit.page.inputValue('#questions')).toBe('the fox\n\n the dog ');
    await visit.page.fill('#tokens', '12');
    await visit.page.fill('#text', 'the fox');
    expect(await ask()).toBe(learned);
    await visit.press('#forget');
    await visit.says('Adapter removed');
    expect(await ask()).toBe(base);
    await visit.choose('mine.safetensors', file);
    await visit.says('Opened mine.safetensors');
    expect(await ask()).toBe(learned);
  });

  test('a function that fails ends training, and the adapter stays as it was', async () => {
    const before = await ask();
    await visit.page.fill('#code', '() => nothing');
    await visit.page.click('#learn');
    await visit.says('nothing is not defined');
    await visit.page.fill('#code', 'answer => answer.size');
    await visit.page.click('#learn');
    await visit.says('The function must return a number, and returned undefined');
    expect(await ask()).toBe(before);
    await visit.page.fill('#code', '');
    await visit.page.click('#learn');
    await visit.says('Say what answers should look like');
    await visit.page.fill('#code', 'answer => answer.length');
    await visit.page.fill('#steps', '3');
    await visit.page.click('#learn');
    await visit.says('Trained for 3 steps');
  });
});
