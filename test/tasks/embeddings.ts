import {adam, applyLoRA, compileModel, saveAdapter, startWasm} from 'tfjs-lora';
import {encodePairs, loadTransformer} from 'tfjs-lora/transformers';
import {encoderUrl, pairs} from './data';

await startWasm();
const {model: base, tokenizer} = await loadTransformer(encoderUrl, {pooling: 'mean'});
const model = applyLoRA(base, {rank: 2});
compileModel(model, {loss: 'ranking', optimizer: adam({learningRate: 1e-3})});
await model.fitDataset(await encodePairs(model, tokenizer, pairs), {epochs: 3});
await saveAdapter(model, 'sentences.safetensors');
