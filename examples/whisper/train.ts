/**
 * Teaches Whisper tiny the names of medicines that do not exist, from sentences that espeak-ng speaks: sixty with names,
 * and some ordinary ones.
 *
 *     npm run example -- whisper            resumes where it was stopped
 *     npm run example -- whisper --quick    fewer sentences
 */
import {mkdirSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {
  adam,
  applyLoRA,
  checkpoint,
  compileModel,
  fitOnFeatures,
  learningRateSchedule,
  progress,
  resume,
  saveAdapter,
  startWasm,
} from 'tfjs-lora';
import {encodeSounds, encodeTranscripts} from 'tfjs-lora/sound';
import {loadTransformer} from 'tfjs-lora/transformers';
import {whisperTiny} from '../../scripts/whisper';
import {kilobytes, SHORT} from '../shared/report';
import {TEST, TRAIN} from './sentences';
import {heard} from './hear';
import {say} from './voices';

const QUICK = process.argv.includes('--quick');
const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));

await startWasm();
mkdirSync(OUTPUT, {recursive: true});

// 1. Sentences with made-up names, and ordinary ones, so that the model does not forget how to write these.
const texts = TRAIN.filter((_, i) => !QUICK || i % 6 === 0);
const clips = texts.map((text, i) => say(text, 'train', i));

// 2. Whisper, with LoRA in its decoder alone: the encoder then computes each clip once.
const {model: whisper, tokenizer} = await loadTransformer(whisperTiny());
const model = applyLoRA(whisper, {rank: 16, seed: 1, targets: [/decoder\/.*(q|k|v|out)_proj$/]});
compileModel(model, {optimizer: adam({learningRate: 1e-3})});

// 3. What it hears before, in sentences that it will not train on, from other voices.
const asked = TEST.named.slice(0, 6);
const before = await heard(model, tokenizer, asked, 1000);

// 4. Train, or go on where the program was stopped.
const sounds = await encodeSounds(model, clips);
const {inputs, targets} = encodeTranscripts(model, tokenizer, texts);
const run = `file://${join(OUTPUT, 'run')}`;
await fitOnFeatures(model, [...sounds.inputs, ...inputs], targets, {
  epochs: QUICK ? 2 : 4,
  batchSize: 1,
  shuffle: false, // the texts are shuffled, and a run that is resumed needs their order
  verbose: 0,
  ...(QUICK ? {} : await resume(model, run)),
  callbacks: [learningRateSchedule({warmup: 0.1}), progress({label: 'Whisper'}), ...(QUICK ? [] : [checkpoint(run)])],
});

// 5. What it hears now. The adapter is a small file.
const after = await heard(model, tokenizer, asked, 1000);
asked.forEach((text, i) => console.log(`\n${text}\n  before: ${before[i]!}\n  after:  ${after[i]!}`));
await saveAdapter(model, `file://${join(OUTPUT, 'adapter')}`);
console.log(`\nThe adapter is ${kilobytes(join(OUTPUT, 'adapter'))} kB, in ${OUTPUT}`);
if (QUICK) {
  console.log(SHORT);
}
