import {applyLoRA, fineTune, saveAdapter, startWasm} from 'tfjs-lora';
import {encodeChats, loadGGUF, parseChats} from 'tfjs-lora/language';
import {chatLines, ggufUrl} from './data';

await startWasm();
const {model: base, tokenizer} = await loadGGUF(ggufUrl);
const model = applyLoRA(base, {rank: 2});
await fineTune(model, await encodeChats(model, tokenizer, parseChats(chatLines)), {epochs: 3});
await saveAdapter(model, 'chats.safetensors');
