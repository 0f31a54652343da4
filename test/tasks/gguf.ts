import {startWasm} from 'tfjs-lora';
import {generate, loadGGUF} from 'tfjs-lora/language';
import {ggufUrl} from './data';

await startWasm();
const {model, tokenizer} = await loadGGUF(ggufUrl);
for await (const piece of generate(model, tokenizer, 'the', {maxTokens: 3})) console.log(piece);
