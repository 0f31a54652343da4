import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel, saveAdapter, startWasm} from 'tfjs-lora';
import {encodeTexts, loadTransformer} from 'tfjs-lora/transformers';
import {encoderUrl} from './data';

await startWasm();
const {model: base, tokenizer} = await loadTransformer(encoderUrl, {labels: ['no', 'yes']});
const model = applyLoRA(base, {rank: 2});
const {inputIds, attentionMask} = encodeTexts(model, tokenizer, ['the cat sat', 'a dog slept']);
compileModel(model, {optimizer: adam({learningRate: 1e-3}), metrics: ['accuracy']});
await model.fit([inputIds, attentionMask], tf.tensor1d([0, 1]), {epochs: 3});
await saveAdapter(model, 'encoder.safetensors');
