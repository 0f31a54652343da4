/**
 * Trains three adapters on a language model in 4 bits, puts them beside its ONNX file, and swaps them in transformers.js
 * while one base stays loaded.
 *
 *     npm run example -- deploy
 *     npm run example -- deploy --quick    a fifth of the steps
 */
import {mkdirSync, openAsBlob, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {pathToFileURL} from 'node:url';
import {adamW, applyLoRA, compileModel, disposeModel, getAdapter, startWasm} from 'tfjs-lora';
import {encodeChats, loadGGUF} from 'tfjs-lora/language';
import {adaptONNX, toONNX} from 'tfjs-lora/onnx';
import 'tfjs-lora/transformers';
import {smollm2} from '../../scripts/pretrained';
import {SHORT, table} from '../shared/report';
import {firstLine, FORMATS, HELD_OUT, MAX_TOKENS, promptOf, WORDS} from './data';
import {OUTPUT, packed, transformersJs} from './files';
import {type AdapterInputs, swapAdapters, type TransformersJs} from './swapAdapters';

const QUICK = process.argv.includes('--quick');

await startWasm();

// 1. SmolLM2-135M in 4 bits, as its GGUF file has it, and its folder for transformers.js. Pages may have the folder
//    already: adaptONNX also takes the files of optimum and of onnxruntime-genai's model builder.
const {model: base, tokenizer} = await loadGGUF(await openAsBlob(smollm2()));
const folder = await toONNX(base, {folder: true, tokenizer});
const path = Object.keys(folder).find(name => name.endsWith('.onnx'))!;
const published = folder[path] as Uint8Array<ArrayBuffer>;

// 2. An adapter for each format of a shopping list. `file` is the same for all three, because their modules are.
const adapters: Record<string, AdapterInputs> = {};
let file = published;
for (const [name, formatOf] of Object.entries(FORMATS)) {
  const model = applyLoRA(base, {rank: 8, alpha: 16, targets: [/[qv]_proj$/], seed: 1});
  compileModel(model, {optimizer: adamW({learningRate: 4e-3})});
  const lines = WORDS.map(word => ({prompt: promptOf(word), completion: formatOf(word)}));
  const batches = await encodeChats(model, tokenizer, lines, {batchSize: 4, maxLength: 20, seed: 1});
  const {history} = await model.fitDataset(batches, {epochs: QUICK ? 1 : 5, verbose: 0});
  console.log(`${name}: loss ${(history.loss as number[]).at(-1)!.toFixed(2)}`);
  const adapted = await adaptONNX(file, getAdapter(model));
  file = adapted.file;
  adapters[name] = adapted.inputs;
  disposeModel(model);
}

// 3. The folder with the adapted graph. Its data file, with all the weights, is that of the base. The adapters are for
//    the page.
for (const [name, content] of Object.entries({...folder, [path]: file, 'adapters.json': packed(adapters)})) {
  mkdirSync(dirname(join(OUTPUT, name)), {recursive: true});
  writeFileSync(join(OUTPUT, name), content);
}

// 4. transformers.js loads it once. From here on, nothing is of this library.
const entry = pathToFileURL(join(transformersJs(), 'transformers.node.mjs')).href;
const {env, pipeline, Tensor} = (await import(entry)) as TransformersJs;
Object.assign(env, {allowRemoteModels: false, localModelPath: dirname(dirname(OUTPUT))});
const generator = await pipeline('text-generation', 'deploy/output', {dtype: 'q4'});
const {use} = swapAdapters(generator.model, Tensor);

// 5. One base, three adapters, and none. The prompts are not a batch, in which transformers.js writes on behind the end
//    of a text until all texts have ended.
const options = {max_new_tokens: MAX_TOKENS, do_sample: false, return_full_text: false};
const rows = [];
for (const name of ['none', ...Object.keys(adapters)]) {
  const start = performance.now();
  use(adapters[name] ?? null);
  const milliseconds = (performance.now() - start).toFixed(1);
  const texts = [];
  for (const word of HELD_OUT) {
    const [[{generated_text: text}]] = (await generator([promptOf(word)], options)) as [[{generated_text: string}]];
    texts.push(firstLine(text).slice(0, 24));
  }
  const size = Object.values(adapters[name] ?? {}).reduce((sum, {data}) => sum + data.byteLength, 0);
  rows.push([name, (size / 1000).toFixed(0), milliseconds, ...texts]);
}
console.log(`\n${table([['adapter', 'kB', 'switch, ms', ...HELD_OUT], ...rows])}\n`);
const [all, graph] = [folder[`${path}_data`]!.length, file.length];
console.log(`The weights are ${(all / 1e6).toFixed(0)} MB, the graph ${(graph / 1e6).toFixed(1)} MB.`);
if (QUICK) {
  console.log(SHORT);
}
