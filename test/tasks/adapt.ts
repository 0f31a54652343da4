import * as tf from '@tensorflow/tfjs';
import {applyLoRA, fineTune, saveAdapter, saveMerged, startWasm} from 'tfjs-lora';
import {url, xs, ys} from './data';

await startWasm();
const model = applyLoRA(await tf.loadLayersModel(url), {rank: 2});
await fineTune(model, [xs, ys], {loss: 'meanSquaredError', learningRate: 1e-2, epochs: 3});
await saveAdapter(model, 'adapter.safetensors');
await saveMerged(model, 'merged');
