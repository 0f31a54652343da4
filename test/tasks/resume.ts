import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, checkpoint, resume, seededBatches, startWasm} from 'tfjs-lora';
import {url, xs, ys} from './data';

await startWasm();
const model = applyLoRA(await tf.loadLayersModel(url), {rank: 2, seed: 1});
model.compile({optimizer: adam({learningRate: 1e-2}), loss: 'meanSquaredError'});
const batches = seededBatches(xs, ys, {batchSize: 4, seed: 1});
await model.fitDataset(batches, {
  epochs: 3,
  callbacks: [checkpoint('run', {batches})],
  ...(await resume(model, 'run', {batches})),
});
