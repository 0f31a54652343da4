import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel, replaceHead, startWasm} from 'tfjs-lora';
import {fromGraphModel} from 'tfjs-lora/graph';
import {graphUrl, graphXs, labels} from './data';

await startWasm();
const base = await fromGraphModel(await tf.loadGraphModel(graphUrl));
const model = applyLoRA(replaceHead(base, [tf.layers.dense({units: 2})]), {rank: 2});
compileModel(model, {optimizer: adam({learningRate: 1e-3}), metrics: ['accuracy']});
await model.fit(graphXs, labels, {epochs: 3});
