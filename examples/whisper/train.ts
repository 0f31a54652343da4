/**
 * Teaches Whisper tiny the names of medicines that do not exist, from sentences that espeak-ng speaks: sixty with names,
 * and some ordinary ones. Other voices say other sentences to test it.
 *
 *     npm run example -- whisper            resumes where it was stopped
 *     npm run example -- whisper --quick    fewer sentences
 */
import {existsSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  checkpoint,
  compileModel,
  disposeModel,
  fitOnFeatures,
  learningRateSchedule,
  resume,
  saveAdapter,
  startWasm,
} from 'tfjs-lora';
import {encodeSounds, encodeTranscripts, transcribe, wordErrorRate} from 'tfjs-lora/sound';
import {loadTransformer} from 'tfjs-lora/transformers';
import {whisperTiny} from '../../scripts/whisper';
import {percent, SHORT, table} from '../shared/report';
import {NAMES, TEST, TRAIN} from './sentences';
import {say} from './voices';

const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));
const isQuick = process.argv.includes('--quick');
const EPOCHS = isQuick ? 2 : 4;
const every = isQuick ? 6 : 1;
const few = (texts: readonly string[]) => texts.filter((_, i) => i % every === 0);

await startWasm();
tf.enableProdMode();
mkdirSync(OUTPUT, {recursive: true});
const begin = process.cpuUsage();
const {model: whisper, tokenizer} = await loadTransformer(whisperTiny());

// 1. Adapt the decoder alone: the encoder then runs once for each clip.
const adapted = applyLoRA(whisper, {rank: 16, seed: 1, targets: [/decoder\/.*(q|k|v|out)_proj$/]});
compileModel(adapted, {optimizer: adam({learningRate: 1e-3})});
// A run that is resumed has measured this.
const MEASURED = join(OUTPUT, 'before.json');
const isKnown = !isQuick && existsSync(MEASURED);
const before = isKnown ? (JSON.parse(readFileSync(MEASURED, 'utf8')) as Measured) : await measure();
if (!isQuick) {
  writeFileSync(MEASURED, JSON.stringify(before));
}

// 2. Train, or continue.
const texts = few(TRAIN);
const sounds = await encodeSounds(
  adapted,
  texts.map((text, i) => say(text, 'train', i)),
);
const {inputs, targets} = encodeTranscripts(adapted, tokenizer, texts);
const run = `file://${join(OUTPUT, isQuick ? 'quick' : 'run')}`;
const start = process.cpuUsage();
await fitOnFeatures(adapted, [...sounds.inputs, ...inputs], targets, {
  epochs: EPOCHS,
  batchSize: 1,
  shuffle: false, // the texts are shuffled, and a run that is resumed needs their order
  verbose: 0,
  ...(isQuick ? {} : await resume(adapted, run)),
  callbacks: [
    learningRateSchedule({warmup: 0.1}),
    ...(isQuick ? [] : [checkpoint(run)]),
    new tf.CustomCallback({
      onEpochEnd: (epoch, logs) =>
        console.log(`epoch ${epoch + 1}: loss ${logs!.loss!.toFixed(3)}, ${seconds(start)} s`),
    }),
  ],
});
tf.dispose([sounds.inputs, inputs, targets]);
const trained = seconds(start);
const after = await measure();
await saveAdapter(adapted, `file://${join(OUTPUT, 'adapter')}`);

console.log(`\n${texts.length} sentences, ${EPOCHS} epochs, ${trained} s of processor time of ${seconds(begin)} s\n`);
const names = ['word errors, with names', 'names found', 'word errors, without names'];
console.log(
  table([['', 'before', 'after'], ...names.map((name, i) => [name, percent(before[i]!), percent(after[i]!)])]),
);
if (isQuick) {
  console.log(`\n${SHORT}`);
}
[adapted, whisper].forEach(disposeModel);

/** Shares of word errors and of names. */
type Measured = [withNames: number, found: number, ordinary: number];

/** Word error rates on sentences with and without names by held-out voices, and the share of names that are right. */
async function measure(): Promise<Measured> {
  const heard = async (said: readonly string[], seed: number) => {
    const transcripts: string[] = [];
    for (const [i, text] of said.entries()) {
      const {features: clip} = await encodeSounds(adapted, say(text, 'test', seed + i));
      let whole = '';
      for await (const piece of transcribe(adapted, tokenizer, clip, {maxTokens: 40})) {
        whole += piece.text;
      }
      clip.dispose();
      transcripts.push(plain(whole));
    }
    return transcripts;
  };
  const [withNames, ordinary] = [few(TEST.named), few(TEST.ordinary)];
  const [ofNames, ofOrdinary] = [await heard(withNames, 1000), await heard(ordinary, 2000)];
  withNames.slice(0, 6).forEach((text, i) => console.log(`${text} → ${ofNames[i]!}`));
  const right = withNames.filter((text, i) => {
    const name = NAMES.find(each => text.includes(each))!;
    return ofNames[i]!.split(' ').includes(plain(name));
  });
  return [
    wordErrorRate(withNames.map(plain), ofNames),
    right.length / withNames.length,
    wordErrorRate(ordinary.map(plain), ofOrdinary),
  ];
}

/** Case and punctuation do not count. */
function plain(text: string): string {
  return text.toLowerCase().replace(/[^a-z0-9' ]/g, '').trim(); // prettier-ignore
}

function seconds(from: NodeJS.CpuUsage): string {
  const {user, system} = process.cpuUsage(from);
  return ((user + system) / 1e6).toFixed(0);
}
