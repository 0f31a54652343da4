import {mkdirSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {applyLoRA, disposeModel, exportPEFT, fileHandler, getAdapter, saveAdapter} from 'tfjs-lora';
import {generateTexts} from 'tfjs-lora/language';
import {adaptONNX, toONNX} from 'tfjs-lora/onnx';
import {quantizeBase} from 'tfjs-lora/quantized';
import {loadTransformer} from 'tfjs-lora/transformers';
import {firstLine, FORMATS, MAX_TOKENS, promptOf} from '../../examples/deploy/data';
import {packed, runtime, transformersJs} from '../../examples/deploy/files';
import type {AdapterInputs} from '../../examples/deploy/swapAdapters';
import {blockDecoder, tokenizerOf} from '../extensions/onnx/decoders';
import {useBackend} from '../helpers';
import {describeUnless} from '../missing';
import {stirFactors} from '../models';
import {temporaryFolder} from '../temporaryFolder';
import {MISSING_BROWSER} from './site';
import {testsOfEveryPage, visitPage} from './visit';

jest.setTimeout(240_000);

let missing = MISSING_BROWSER;
const folders: Record<string, string> = {};
try {
  Object.assign(folders, {'/transformers/': transformersJs(), '/runtime/': runtime()});
} catch (error) {
  missing ??= `npm does not bring transformers.js: ${(error as Error).message}`;
}

describeUnless(missing, 'the page that swaps adapters', () => {
  const models = temporaryFolder();
  const made = temporaryFolder();
  const TEXT = 'w7';
  const NAMES = ['No adapter', ...Object.keys(FORMATS)];
  /** What the model generates with no adapter, with each of the page, and with one that it is given. */
  const expected: string[] = [];

  beforeAll(async () => {
    await useBackend('cpu');
    const source = {...blockDecoder({eos_token_id: null}), ...tokenizerOf(70)};
    const {model: base, tokenizer} = await loadTransformer(source);
    const blocks = await quantizeBase(base, {bits: 4});
    const files = await toONNX(blocks, {folder: true, tokenizer});
    const path = Object.keys(files).find(name => name.endsWith('.onnx'))!;
    const adapters: Record<string, AdapterInputs> = {};
    const expectGenerated = async (model: typeof base) => {
      const [text = ''] = await generateTexts(model, tokenizer, [promptOf(TEXT)], {maxTokens: MAX_TOKENS});
      expected.push(firstLine(text));
    };
    await expectGenerated(blocks);
    let file = files[path] as Uint8Array<ArrayBuffer>;
    for (const [i, name] of [...Object.keys(FORMATS), 'mine'].entries()) {
      const model = applyLoRA(blocks, {rank: i + 1, seed: i, targets: [/[qv]_proj$/]});
      stirFactors(model);
      await expectGenerated(model);
      if (name === 'mine') {
        await saveAdapter(model, fileHandler(join(made, 'mine.safetensors')));
        const {config, weights} = await exportPEFT(model);
        writeFileSync(join(made, 'adapter_config.json'), JSON.stringify(config));
        writeFileSync(join(made, 'adapter_model.safetensors'), weights);
      } else {
        const adapted = await adaptONNX(file, getAdapter(model));
        file = adapted.file;
        adapters[name] = adapted.inputs;
      }
      disposeModel(model);
    }
    const wide = applyLoRA(blocks, {rank: 1, targets: [/o_proj$/]});
    await saveAdapter(wide, fileHandler(join(made, 'wide.safetensors')));
    [wide, blocks, base].forEach(disposeModel);
    for (const [name, content] of Object.entries({...files, [path]: file, 'adapters.json': packed(adapters)})) {
      mkdirSync(dirname(join(models, name)), {recursive: true});
      writeFileSync(join(models, name), content);
    }
  });
  const visit = visitPage('deploy', {models, serve: {folders}, ready: 'Ready, on WASM'});

  /** The adapters and what was generated with them in the latest answers, the earliest first. */
  async function latest(count: number): Promise<(readonly [adapter: string, answer: string])[]> {
    const [heads, answers] = [await visit.texts('#answers span:first-child'), await visit.texts('#answers strong')];
    return heads
      .map((head, i) => [head.split(':')[0]!, answers[i]!] as const)
      .slice(0, count)
      .reverse();
  }

  /** What the page generates with an adapter. */
  async function written(adapter: string): Promise<string> {
    await visit.page.selectOption('#adapter', adapter);
    await visit.press('#once');
    await visit.says('Done');
    const [[name, answer]] = (await latest(1)) as [[string, string]];
    expect(name).toBe(adapter === '' ? 'No adapter' : adapter);
    return answer;
  }

  const fileOf = (name: string) => join(made, name);

  test('it generates with no adapter and with each, as the library does', async () => {
    await visit.type('#text', TEXT);
    await visit.press('#each');
    await visit.says('Done');
    expect(await latest(4)).toEqual(NAMES.map((name, i) => [name, expected[i]]));
    expect(new Set(expected).size).toBe(5);
  });

  test('it switches to the adapter that is chosen, and back', async () => {
    expect([await written('HTML'), await written('')]).toEqual([expected[2], expected[0]]);
  });

  testsOfEveryPage(
    visit,
    async () => {
      await visit.page.fill('#text', ' ');
      await visit.page.click('#once');
      await visit.says('Give a text first');
      await visit.page.fill('#text', TEXT);
    },
    'once',
  );

  test.each([
    ['mine', ['mine.safetensors']],
    ['adapter_model', ['adapter_config.json', 'adapter_model.safetensors']],
  ])('it opens the adapter %s, and keeps the base', async (name, files) => {
    await visit.page.setInputFiles('#files', files.map(fileOf));
    await visit.says(`Opened ${name}.safetensors: \\d+ kB`);
    expect(await visit.page.inputValue('#adapter')).toBe(name);
    expect([await written(name), await written('')]).toEqual([expected[4], expected[0]]);
  });

  test('it refuses other files, and goes on', async () => {
    await visit.page.setInputFiles('#files', [fileOf('wide.safetensors')]);
    await visit.says('The adapter has modules that the file of this page has no inputs for');
    await visit.page.setInputFiles('#files', [fileOf('adapter_config.json')]);
    await visit.says('Choose adapter_config.json together with');
    await visit.choose('letter.safetensors', 'Dear page,');
    await visit.page.locator('#status.fault').waitFor();
    expect(await written('JSON')).toBe(expected[1]);
  });

  test('it is stopped by keyboard, and goes on', async () => {
    await visit.page.evaluate(() => {
      const status = document.querySelector('#status')!;
      new MutationObserver((_, observer) => {
        if (status.textContent.startsWith('Generating')) {
          observer.disconnect();
          document.querySelector<HTMLButtonElement>('#stop')!.click();
        }
      }).observe(status, {childList: true, characterData: true, subtree: true});
    });
    await visit.press('#each');
    await visit.says('Stopped');
    expect(await written('Markdown')).toBe(expected[3]);
  });
});
