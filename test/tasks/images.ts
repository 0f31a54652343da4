import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel, replaceHead, startWasm} from 'tfjs-lora';
import {encodeImages} from 'tfjs-lora/images';
import {imageUrl, photos} from './data';

await startWasm();
const base = await tf.loadLayersModel(imageUrl);
const model = applyLoRA(replaceHead(base, [tf.layers.dense({units: 2})]), {rank: 2});
const pixels = await encodeImages(model, photos, {range: [-1, 1]});
compileModel(model, {optimizer: adam({learningRate: 1e-2}), metrics: ['accuracy']});
await model.fit(pixels, tf.tensor1d([0, 1]), {epochs: 3});
