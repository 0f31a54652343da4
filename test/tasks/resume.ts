import * as tf from '@tensorflow/tfjs';
import {applyLoRA, fineTune, startWasm} from 'tfjs-lora';
import {url, xs, ys} from './data';

await startWasm();
const model = applyLoRA(await tf.loadLayersModel(url), {rank: 2, seed: 1});
await fineTune(model, [xs, ys], {loss: 'meanSquaredError', learningRate: 1e-2, epochs: 3, checkpoint: 'run'});
