import {writeFile} from 'node:fs/promises';
import {adam, applyLoRA, compileModel, startWasm} from 'tfjs-lora';
import {fromONNX, toONNX} from 'tfjs-lora/onnx';
import {labels, onnxUrl, onnxXs} from './data';

await startWasm();
const base = await fromONNX(onnxUrl);
const model = applyLoRA(base, {rank: 2});
compileModel(model, {optimizer: adam({learningRate: 1e-2}), metrics: ['accuracy']});
await model.fit(onnxXs, labels, {epochs: 3});
await writeFile('tuned.onnx', await toONNX(model, onnxUrl));
