import {adam, applyLoRA, compileModel, fitOnFeatures, saveAdapter, startWasm} from 'tfjs-lora';
import {encodeSounds, encodeTranscripts, loadTransformer} from 'tfjs-lora/sound';
import {recordings, speechUrl} from './data';

await startWasm();
const {model: base, tokenizer} = await loadTransformer(speechUrl);
const model = applyLoRA(base, {rank: 2, targets: [/decoder\/.*(q|k|v)_proj$/]});
const sounds = await encodeSounds(model, recordings);
const {inputs, targets} = encodeTranscripts(model, tokenizer, ['she takes brimalto', 'no ventorin'], {language: 'en'});
compileModel(model, {optimizer: adam({learningRate: 1e-3})});
await fitOnFeatures(model, [...sounds.inputs, ...inputs], targets, {epochs: 3, batchSize: 1});
await saveAdapter(model, 'speech.safetensors');
