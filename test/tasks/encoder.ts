import {adam, applyLoRA, compileModel, saveAdapter, startWasm} from 'tfjs-lora';
import {encodeExamples, loadTransformer} from 'tfjs-lora/transformers';
import {encoderUrl, examples} from './data';

await startWasm();
const {model: base, tokenizer} = await loadTransformer(encoderUrl, {labels: ['no', 'yes']});
const model = applyLoRA(base, {rank: 2});
compileModel(model, {optimizer: adam({learningRate: 1e-3}), metrics: ['accuracy']});
await model.fitDataset(await encodeExamples(model, tokenizer, examples), {epochs: 3});
await saveAdapter(model, 'encoder.safetensors');
