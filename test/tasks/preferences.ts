import {adamW, applyLoRA, saveAdapter, startWasm} from 'tfjs-lora';
import {compilePreferences, encodePreferences, loadGGUF, parsePreferences} from 'tfjs-lora/language';
import {ggufUrl, preferenceLines} from './data';

await startWasm();
const {model: base, tokenizer} = await loadGGUF(ggufUrl);
const model = applyLoRA(base, {rank: 2});
const pairs = await encodePreferences(model, tokenizer, parsePreferences(preferenceLines));
compilePreferences(model, {method: 'dpo', optimizer: adamW({learningRate: 2e-4}), metrics: ['accuracy']});
await model.fitDataset(pairs, {epochs: 3});
await saveAdapter(model, 'preferences.safetensors');
