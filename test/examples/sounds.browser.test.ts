import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import type {Page} from 'playwright-core';
import {loadAdapter} from 'tfjs-lora';
import {fromONNX} from 'tfjs-lora/onnx';
import {readWav, resample} from 'tfjs-lora/sound';
import {wav} from '../extensions/sound/clips';
import {numbers, random, useBackend} from '../helpers';
import {temporaryFolder} from '../temporaryFolder';
import {collectErrors, describeInBrowser, downloads, expectTidy, LOOKS, openSite, showAs} from './site';

jest.setTimeout(120_000);

/** What Chromium takes for its microphone: "computer" in a room, again and again. */
function writeMicrophone(path: string): string[] {
  const clip = (name: string, i: number) => {
    const {samples} = readWav(readFileSync(join(__dirname, `../../examples/sounds/public/clips/${name}.wav`)));
    return samples.subarray(16_000 * i, 16_000 * (i + 1));
  };
  const parts = [clip('background', 0), clip('computer', 0), clip('background', 1)];
  const joined = Float32Array.from(parts.flatMap(part => [...part]));
  const {samples} = resample({samples: joined, sampleRate: 16_000}, 48_000);
  const pcm = Int16Array.from(samples, value => Math.max(-1, Math.min(1, value)) * 32_767);
  writeFileSync(path, wav({sampleRate: 48_000, data: new Uint8Array(pcm.buffer)}));
  return [
    '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
    `--use-file-for-fake-audio-capture=${path}`,
    '--autoplay-policy=no-user-gesture-required',
  ];
}

describeInBrowser('the page that learns words and noises', () => {
  const folder = temporaryFolder();
  const site = openSite('sounds', '', writeMicrophone(join(folder, 'microphone.wav')));
  let page: Page;
  let errors: string[];
  let adapterFile: Buffer;

  const says = (begin: string) => page.locator('#status', {hasText: new RegExp(`^${begin}`)}).waitFor();
  const heads = () => page.locator('.class h3').allTextContents();
  const press = (id: string) => page.dispatchEvent(id, 'click'); // without waiting for a thread that is at work

  beforeAll(async () => {
    page = await site.browser.newPage({viewport: {width: 1280, height: 1000}});
    page.setDefaultTimeout(100_000);
    errors = collectErrors(page);
    await page.goto(site.url);
    await says('Ready');
  });

  afterAll(async () => {
    await page.close();
  });

  test('opens with clips of two words and a background, and says why it cannot train', async () => {
    expect(await heads()).toEqual(['computer (10)', 'banana (10)', 'background (10)']);
    expect(await page.isEnabled('#learn')).toBe(true);
    await page.fill('#class-name', 'bell');
    await page.press('#class-name', 'Enter');
    expect(await page.textContent('#missing')).toBe('Each class needs at least 5 clips. Too few: bell.');
    expect(await page.isDisabled('#learn')).toBe(true);
  });

  test('records a clip from the microphone, and shows its level', async () => {
    await page.evaluate(() => {
      const level = document.querySelector<HTMLMeterElement>('#level')!;
      new MutationObserver(() => {
        level.dataset.most = String(Math.max(Number(level.dataset.most ?? 0), level.value));
      }).observe(level, {attributes: true, attributeFilter: ['value']});
    });
    await page.click('[aria-label="Record bell"]');
    await says('bell has 1 clip');
    expect(await heads()).toContain('bell (1)');
    expect(Number(await page.getAttribute('#level', 'data-most'))).toBeGreaterThan(0.1);
    await page.click('[aria-label="Play clip 1 of bell"]');
    expect(errors).toEqual([]);
  });

  test('decodes a compressed file, and refuses one that is none by its name', async () => {
    // What the browser itself records: a second and a half of a tone in WebM.
    const bytes = await page.evaluate(async () => {
      const context = new AudioContext();
      const tone = new OscillatorNode(context, {frequency: 440});
      const end = context.createMediaStreamDestination();
      tone.connect(end);
      tone.start();
      const recorder = new MediaRecorder(end.stream);
      const parts: Blob[] = [];
      recorder.ondataavailable = ({data}) => parts.push(data);
      const stopped = new Promise(resolve => (recorder.onstop = resolve));
      recorder.start();
      await new Promise(resolve => setTimeout(resolve, 1500));
      recorder.stop();
      await stopped;
      await context.close();
      return [...new Uint8Array(await new Blob(parts).arrayBuffer())];
    });
    const input = '[aria-label="Files for bell"]';
    await page.setInputFiles(input, {name: 'tone.webm', mimeType: 'audio/webm', buffer: Buffer.from(bytes)});
    await says('bell has 2 clips');
    await page.setInputFiles(input, {name: 'notes.txt', mimeType: 'audio/webm', buffer: Buffer.from('no sound')});
    await says('notes.txt is neither a WAV file nor');
    expect(await heads()).toContain('bell (2)');
  });

  test('removes and undoes by keyboard, and keeps the focus', async () => {
    await page.focus('[aria-label="Remove clip 2 of bell"]');
    await page.keyboard.press('Enter');
    expect(await heads()).toContain('bell (1)');
    await page.keyboard.press('Control+z');
    expect(await heads()).toContain('bell (2)');
    await page.focus('[aria-label="Remove bell"]');
    await page.keyboard.press('Enter');
    expect(await heads()).toEqual(['computer (10)', 'banana (10)', 'background (10)']);
    await page.focus('[aria-label="Remove clip 1 of banana"]');
    await page.keyboard.press('Enter');
    expect(await page.evaluate(() => document.activeElement?.getAttribute('aria-label'))).toBe(
      'Remove clip 1 of banana',
    );
    await page.keyboard.press('Control+z');
    await says('Undone');
    await page.locator('#kept', {hasText: 'This browser keeps your clips'}).waitFor();
  });

  test('learns two words, and shows which held-out clips it confuses', async () => {
    await page.fill('#copies', '2');
    await page.focus('#learn');
    await page.keyboard.press('Enter');
    await says('Trained. Accuracy on 6 held-out clips');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('learn');
    const rows = await page.$$eval('#confusion tbody tr', all =>
      all.map(row => (row as HTMLTableRowElement).cells.length),
    );
    expect(rows).toEqual([4, 4, 4]);
    const counts = await page.$$eval('#confusion td', cells => cells.map(({textContent}) => Number(textContent)));
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(6);
    expect(counts[0]! + counts[4]! + counts[8]!).toBeGreaterThan(2); // by guessing, on average; dropout has no seed
    expect(await page.locator('#results td').first().textContent()).toBe('LoRA');
    expect(errors).toEqual([]);
  });

  test('hears a word from the microphone', async () => {
    await press('#listen');
    await page.locator('#heard p', {hasText: 'computer'}).first().waitFor();
    expect(await page.locator('.chance').count()).toBe(3);
    await press('#stop-listening');
    await says('Stopped listening');
    await page.click('#close-microphone');
    expect(await page.isVisible('#microphone')).toBe(false);
    expect(errors).toEqual([]);
  });

  test.each(LOOKS)('is tidy on a $name in $colorScheme', async look => {
    await showAs(page, look);
    await expectTidy(page, look, site.screenshots);
  });

  test('gives the adapter and the whole model as files', async () => {
    [adapterFile] = [...(await downloads(page, 1, () => press('#save-adapter'))).values()] as [Buffer];
    await useBackend('cpu');
    const adapter = await loadAdapter(new Uint8Array(adapterFile));
    expect(Object.keys(adapter.config.layers).sort()).toEqual(['conv2', 'conv3', 'conv4', 'embedding']);
    adapter.dispose();
    await says('Downloaded');
    const model = await downloads(page, 2, () => press('#save-model'));
    expect([...model.keys()].sort()).toEqual(['sounds.json', 'sounds.weights.bin']);
    const onnx = await downloads(page, 1, () => press('#save-onnx'));
    const {modelTopology, weightsManifest} = JSON.parse(model.get('sounds.json')!.toString()) as tf.io.ModelJSON;
    const weightData = new Uint8Array(model.get('sounds.weights.bin')!).buffer;
    const merged = await tf.loadLayersModel(
      tf.io.fromMemory({modelTopology, weightSpecs: weightsManifest[0]!.weights, weightData}),
    );
    const again = await fromONNX(new Uint8Array(onnx.get('sounds.onnx')!));
    const x = random([3, 98, 40, 1], 1, 0.3);
    const [expected, actual] = [merged, again].map(each => numbers(each.predict(x) as tf.Tensor));
    expect(expected!.slice(0, 3).reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 5);
    expect(actual).toBeAllClose(expected!, {rtol: 0, atol: 1e-6});
    [merged, again].forEach(each => each.dispose());
    x.dispose();
  });

  test('restores clips and the adapter after a reload, and opens the adapter', async () => {
    const threshold = await page.inputValue('#threshold');
    await page.reload();
    await says('Ready. Your previous adapter');
    expect(await heads()).toEqual(['computer (10)', 'banana (10)', 'background (10)']);
    expect(await page.inputValue('#threshold')).toBe(threshold);
    await page.setInputFiles('#open', {name: 'own.safetensors', mimeType: '', buffer: adapterFile});
    await says('Opened own.safetensors');
  });

  test('stops, and keeps what was learned', async () => {
    await page.fill('#epochs', '100');
    await page.evaluate(() => {
      const bar = document.querySelector<HTMLProgressElement>('#progress')!;
      new MutationObserver((_, observer) => {
        observer.disconnect();
        document.querySelector<HTMLButtonElement>('#stop')!.click();
      }).observe(bar, {attributes: true});
    });
    await press('#learn');
    await says('Stopped. Accuracy on 6');
    expect(await page.isEnabled('#listen')).toBe(true);
    expect(errors).toEqual([]);
  });
});
