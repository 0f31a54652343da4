import {adamW, applyLoRA, compileModel, saveAdapter, startWasm} from 'tfjs-lora';
import {encodeChats, loadGGUF, openChat, parseChats} from 'tfjs-lora/language';
import {chatLines, ggufUrl} from './data';

await startWasm();
const {model: base, tokenizer} = await loadGGUF(ggufUrl);
const model = applyLoRA(base, {rank: 2});
compileModel(model, {optimizer: adamW({learningRate: 2e-3})});
await model.fitDataset(await encodeChats(model, tokenizer, parseChats(chatLines)), {epochs: 3});
await saveAdapter(model, 'chats.safetensors');
const chat = openChat(model, tokenizer, {maxTokens: 3});
for await (const piece of chat.send('the dog')) console.log(piece);
