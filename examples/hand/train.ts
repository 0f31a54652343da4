/**
 * Teaches MediaPipe's hand landmark model, a GraphModel, to find the landmarks of a hand in a striped glove, from 30
 * frames.
 *
 *     npm run example -- hand
 *     npm run example -- hand --quick    fewer epochs and test frames
 */
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {fileHandler, startWasm} from 'tfjs-lora';
import {kilobytes, percent, SHORT, table} from '../shared/report';
import {writeTuned} from '../shared/writeTuned';
import {drawFrames, drawGrounds, together} from './data';
import {handModel} from './files';
import {
  errorOf,
  errorOfGuesses,
  featuresOf,
  featuresOfCopies,
  guessesInGraph,
  guessesOf,
  learn,
  openHand,
  seenIn,
} from './learn';

const SEED = 1;
const QUICK = process.argv.includes('--quick');
const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));

await startWasm();

// 1. Frames with known landmarks: 30 of a gloved hand and four of a wall to train on, and others to test on.
const frames = together(drawFrames(30, 'glove', 1), drawGrounds(4, 'glove', 5));
const test = drawFrames(QUICK ? 40 : 200, 'glove', 2);
const walls = drawGrounds(QUICK ? 10 : 40, 'glove', 4);

// 2. The published graph, cut in two. The part before the cut computes each frame once; the part after it trains.
const graph = await tf.loadGraphModel(handModel());
const hand = await openHand(graph);
const features = (await featuresOfCopies(hand, frames, 2, SEED))!; // and two augmented copies of each frame
const [testFeatures, wallFeatures] = [featuresOf(hand, test), featuresOf(hand, walls)];

// 3. LoRA in every layer after the cut, and two losses: of the landmarks, and of whether there is a hand.
const before = rowOf('published', hand.body);
const begin = Date.now();
const model = await learn(hand.body, features, {method: 'lora', epochs: QUICK ? 2 : 5, seed: SEED});
const seconds = ((Date.now() - begin) / 1000).toFixed(0);

// 4. The adapter is a small file. Written into the graph, it runs where the published model does, without the library.
const files = {adapter: fileHandler(join(OUTPUT, 'adapter.safetensors')), graph: fileHandler(join(OUTPUT, 'graph'))};
const tuned = await writeTuned(graph, model, files);

// 5. The result on frames that were not trained on, also of the graph that was loaded again.
const [ofGloves, ofWalls] = [guessesInGraph(tuned, test.xs), guessesInGraph(tuned, walls.xs)];
const rows = [
  ['', 'error', 'finds gloved hands', 'finds one in nothing'],
  before,
  rowOf('LoRA', model),
  ['LoRA in the graph', percent(errorOfGuesses(ofGloves.landmarks, test.ys)), shareSeen(ofGloves), shareSeen(ofWalls)],
];
console.log(`${table(rows)}\n\nError: mean distance from the true landmarks, relative to the diagonal of the hand.`);
console.log(`Training took ${seconds} s. The adapter is ${kilobytes(join(OUTPUT, 'adapter.'))} kB, in ${OUTPUT}`);
if (QUICK) {
  console.log(SHORT);
}

function rowOf(name: string, body: tf.LayersModel): string[] {
  const shares = [testFeatures, wallFeatures].map(({xs}) => shareSeen(guessesOf(body, xs)));
  return [name, percent(errorOf(body, testFeatures)), ...shares];
}

/** The share of frames in which a hand is found. */
function shareSeen({presence}: ReturnType<typeof guessesOf>): string {
  return percent(seenIn(presence) / presence.shape[0]);
}
