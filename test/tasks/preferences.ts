import {applyLoRA, fineTune, saveAdapter, startWasm} from 'tfjs-lora';
import {compilePreferences, encodePreferences, loadGGUF, parsePreferences} from 'tfjs-lora/language';
import {ggufUrl, preferenceLines} from './data';

await startWasm();
const {model: base, tokenizer} = await loadGGUF(ggufUrl);
const model = applyLoRA(base, {rank: 2});
compilePreferences(model, {method: 'dpo', optimizer: 'adam'});
await fineTune(model, await encodePreferences(model, tokenizer, parsePreferences(preferenceLines)), {epochs: 3});
await saveAdapter(model, 'preferences.safetensors');
