import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {loadAdapter} from 'tfjs-lora';
import {fromONNX} from 'tfjs-lora/onnx';
import {readWav, resample} from 'tfjs-lora/sound';
import {wav} from '../extensions/sound/clips';
import {numbers, random, useBackend} from '../helpers';
import {temporaryFolder} from '../temporaryFolder';
import {describeInBrowser} from './site';
import {testsOfEveryPage, visitPage} from './visit';

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
  const visit = visitPage('sounds', {browser: writeMicrophone(join(folder, 'microphone.wav'))});
  let adapterFile: Buffer;

  const EXAMPLE = ['computer (10)', 'banana (10)', 'background (10)'];
  const heads = () => visit.texts('.class h3');
  const press = (id: string) => visit.page.dispatchEvent(id, 'click'); // without waiting for a thread that is at work

  test('opens with clips of two words and a background, and says why it cannot train', async () => {
    expect(await heads()).toEqual(EXAMPLE);
    expect(await visit.page.isEnabled('#learn')).toBe(true);
    await visit.page.fill('#class-name', 'bell');
    await visit.page.press('#class-name', 'Enter');
    await visit.says('Added the class bell');
    expect(await visit.page.textContent('#missing')).toMatch(/^Each class needs at least 5 clips .*Too few: bell\.$/);
    expect(await visit.page.isDisabled('#learn')).toBe(true);
  });

  test('records a clip from the microphone, and shows its level', async () => {
    await visit.page.evaluate(() => {
      const level = document.querySelector<HTMLMeterElement>('#level')!;
      new MutationObserver(() => {
        level.dataset.most = String(Math.max(Number(level.dataset.most ?? 0), level.value));
      }).observe(level, {attributes: true, attributeFilter: ['value']});
    });
    await visit.page.click('[aria-label="Record bell"]');
    await visit.says('bell has 1 clip');
    expect(await heads()).toContain('bell (1)');
    expect(Number(await visit.page.getAttribute('#level', 'data-most'))).toBeGreaterThan(0.1);
    await visit.page.click('[aria-label="Play clip 1 of bell"]');
  });

  test('decodes a compressed file, and refuses one that is none by its name', async () => {
    // What the browser itself records: a second and a half of a tone in WebM.
    const bytes = await visit.page.evaluate(async () => {
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
    const input = '[aria-label="Add clips to bell"]';
    await visit.page.setInputFiles(input, {name: 'tone.webm', mimeType: 'audio/webm', buffer: Buffer.from(bytes)});
    await visit.says('bell has 2 clips');
    await visit.page.setInputFiles(input, {name: 'notes.txt', mimeType: 'audio/webm', buffer: Buffer.from('no sound')});
    await visit.says('notes.txt is neither a WAV file nor');
    expect(await heads()).toContain('bell (2)');
  });

  test('removes and undoes by keyboard, and keeps the focus', async () => {
    await visit.page.focus('[aria-label="Remove clip 2 of bell"]');
    await visit.page.keyboard.press('Enter');
    await visit.says('Removed');
    expect(await heads()).toContain('bell (1)');
    await visit.page.keyboard.press('Control+z');
    await visit.says('Undone');
    expect(await heads()).toContain('bell (2)');
    await visit.page.focus('[aria-label="Remove bell"]');
    await visit.page.keyboard.press('Enter');
    await visit.says('Removed bell');
    expect(await heads()).toEqual(EXAMPLE);
    await visit.page.focus('[aria-label="Remove clip 1 of banana"]');
    await visit.page.keyboard.press('Enter');
    await visit.says('Removed. Undo');
    expect(await visit.page.evaluate(() => document.activeElement?.getAttribute('aria-label'))).toBe(
      'Remove clip 1 of banana',
    );
    await visit.page.keyboard.press('Control+z');
    await visit.says('Undone');
    await visit.page.locator('#kept', {hasText: 'This browser keeps what you add'}).waitFor();
  });

  test('learns two words, and shows which held-out clips it confuses', async () => {
    await visit.type('#copies', '2');
    await visit.press('#learn');
    await visit.says('Trained. Accuracy on 9 held-out clips');
    expect(await visit.page.evaluate(() => document.activeElement?.id)).toBe('learn');
    expect(await visit.texts('#confusion tbody th')).toEqual(['computer', 'banana', 'background']);
    const counts = (await visit.texts('#confusion td')).map(Number);
    expect(counts).toHaveLength(9);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(9);
    expect(counts[0]! + counts[4]! + counts[8]!).toBeGreaterThan(3); // by guessing, on average; dropout has no seed
    expect(await visit.texts('#results tbody th')).toEqual(['LoRA and a new head']);
    expect(await visit.page.textContent('#threshold-text')).toMatch(/gives it at least [\d.]+ %/);
  });

  testsOfEveryPage(visit, async () => {
    await visit.choose('letter.safetensors', 'Dear page,');
    await visit.says('letter.safetensors: ');
  });

  test('hears a word from the microphone', async () => {
    await press('#listen');
    await visit.page.locator('#heard p', {hasText: 'computer'}).first().waitFor();
    expect(await visit.page.locator('.chance').count()).toBe(3);
    await press('#stop-listening');
    await visit.says('Stopped listening');
    await visit.page.click('#close-microphone');
    expect(await visit.page.isVisible('#microphone')).toBe(false);
  });

  test('gives the adapter and the whole model as files', async () => {
    [adapterFile] = [...(await visit.files('#save')).values()] as [Buffer];
    await useBackend('cpu');
    const adapter = await loadAdapter(new Uint8Array(adapterFile));
    expect(Object.keys(adapter.config.layers).sort()).toEqual(['conv2', 'conv3', 'conv4', 'embedding']);
    adapter.dispose();
    await visit.says('Downloaded');
    const model = await visit.files('#save-model', 2);
    expect([...model.keys()].sort()).toEqual(['sounds.json', 'sounds.weights.bin']);
    const onnx = await visit.files('#save-onnx');
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
    const threshold = await visit.page.inputValue('#threshold');
    await visit.page.locator('#kept', {hasText: 'This browser keeps what you add'}).waitFor();
    await visit.reload('Ready. Your previous adapter');
    expect(await heads()).toEqual(EXAMPLE);
    expect(await visit.page.inputValue('#threshold')).toBe(threshold);
    await visit.choose('own.safetensors', adapterFile);
    await visit.says('Opened own.safetensors');
  });

  test('stops, and keeps what was learned', async () => {
    await visit.page.fill('#epochs', '100');
    await visit.stopBeyond(0);
    await press('#learn');
    await visit.says('Stopped. Accuracy on 9');
    expect(await visit.page.isEnabled('#listen')).toBe(true);
    await visit.undo('training');
    expect(await visit.page.isVisible('#results')).toBe(false);
    expect(await visit.page.isVisible('#confusion')).toBe(false);
  });
});
