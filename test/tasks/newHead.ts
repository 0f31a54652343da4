import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel, replaceHead, saveAdapter, startWasm} from 'tfjs-lora';
import {labels, url, xs} from './data';

await startWasm();
const base = await tf.loadLayersModel(url);
const model = applyLoRA(replaceHead(base, [tf.layers.dense({units: 3})]), {rank: 2});
compileModel(model, {optimizer: adam({learningRate: 1e-2}), metrics: ['accuracy']});
await model.fit(xs, labels, {epochs: 3});
await saveAdapter(model, 'new-head.safetensors');
