/**
 * Teaches a small network for words six others, from ten clips of each, and detects them in a minute of a room in which
 * people talk. Generated voices speak, other ones to test it.
 *
 *     npm run example -- sounds
 *     npm run example -- sounds --quick    fewer copies of the clips
 */
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {fileHandler, saveAdapter, saveMerged, startWasm, trainableVariables} from 'tfjs-lora';
import {scoreEvents} from 'tfjs-lora/sound';
import {loadWordBase, wordFrames} from 'tfjs-lora/words';
import {kilobytes, percent, SHORT} from '../shared/report';
import {noise} from './clips';
import {adapt, chooseDetection, classify, detectIn, learn, scoresIn, SETTINGS, talkFrom} from './learn';
import {clipsOf, withWords} from './spoken';
import {CLASSES, room, say, severally, WORDS} from './voices';

const SEED = 1;
const QUICK = process.argv.includes('--quick');
const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));

await startWasm();

// 1. Ten clips of each word and a minute of background to train on. Other voices choose the threshold, and others test.
const [train, held, test] = [
  await clipsOf('train', 10, SEED),
  await clipsOf('held', 5, 1),
  await clipsOf('test', 15, 1),
];
const noises = Array.from({length: 8}, (_, i) => noise(3, 2000 + i));
const talk = talkFrom(readFileSync(new URL('public/clips/talk.bin', import.meta.url)));

// 2. The base, which knows other words, with a new head and with LoRA in the layers before it.
const {model: base} = await loadWordBase();
const model = adapt(base, CLASSES.length, 'lora', SEED);

// 3. The clips and augmented copies of them train it, some of them mixed with noise or put among other words.
const begin = Date.now();
await learn(model, train, {way: 'lora', ...SETTINGS.lora, talk, copies: QUICK ? 3 : 5, noise: noises, seed: SEED});
const parameters = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
console.log(
  `${parameters.toLocaleString('en')} parameters were trained in ${((Date.now() - begin) / 1000).toFixed(0)} s.`,
);

// 4. The result on clips of other voices.
const guessed = classify(model, test.clips);
const right = guessed.filter((label, i) => label === test.labels[i]).length;
console.log(
  `${right} of ${guessed.length} clips of other voices are classified correctly: ${percent(right / guessed.length)}.`,
);

// 5. In a stream, a word is detected where its score exceeds a threshold, which clips of yet others have chosen.
const detection = chooseDetection(model, held, CLASSES, talk);
const spoken = await severally(WORDS, (word, i) => say(word, 'test', 5000 + i));
const {sound, known} = withWords(await room(1, 'test', 20_000), spoken);
const scores = scoresIn(model, wordFrames(sound));
for (const threshold of [0.5, detection.threshold]) {
  const found = detectIn(scores, CLASSES, {...detection, threshold});
  const {recall, falseAlarms} = scoreEvents(found, known, {tolerance: 1});
  console.log(
    `With the threshold ${threshold}, ${Math.round(recall * known.length)} of ${known.length} words in a minute of ` +
      `talk are detected, with ${falseAlarms} false alarms.`,
  );
}

// 6. The adapter is a small file. Merged, the model is one that tf.loadLayersModel loads.
await saveAdapter(model, `file://${join(OUTPUT, 'lora.safetensors')}`);
await saveMerged(model, fileHandler(join(OUTPUT, 'merged')));
console.log(
  `The adapter is ${kilobytes(join(OUTPUT, 'lora.'))} kB, the model ${kilobytes(join(OUTPUT, 'merged'))} kB, in ${OUTPUT}`,
);
if (QUICK) {
  console.log(SHORT);
}
