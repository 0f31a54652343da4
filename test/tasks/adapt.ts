import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, loadAdapter, mergeLoRA, saveAdapter, startWasm} from 'tfjs-lora';
import {url, xs, ys} from './data';

await startWasm();
const base = await tf.loadLayersModel(url);
const model = applyLoRA(base, {rank: 2});
model.compile({optimizer: adam({learningRate: 1e-2}), loss: 'meanSquaredError'});
await model.fit(xs, ys, {epochs: 3});
await saveAdapter(model, 'adapter.safetensors');
const restored = applyLoRA(base, await loadAdapter('adapter.safetensors'));
const merged = mergeLoRA(restored);
await merged.save('file://merged');
