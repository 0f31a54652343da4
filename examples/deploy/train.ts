/**
 * Trains three adapters on a language model in 4 bits, puts them beside its ONNX file, and swaps them in transformers.js
 * while one base stays loaded.
 *
 *     npm run example -- deploy
 *     npm run example -- deploy --quick    a third of the steps
 */
import {mkdirSync, openAsBlob, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {pathToFileURL} from 'node:url';
import {adamW, applyLoRA, compileModel, disposeModel, getAdapter, learningRateSchedule, startWasm} from 'tfjs-lora';
import {encodeChats, loadGGUF} from 'tfjs-lora/language';
import {adaptONNX, toONNX} from 'tfjs-lora/onnx';
import 'tfjs-lora/transformers';
import {smollm2} from '../../scripts/pretrained';
import {SHORT, table} from '../shared/report';
import {firstLine, FORMATS, HELD_OUT, ITEMS, MAX_TOKENS, promptOf, textOf} from './data';
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
  compileModel(model, {optimizer: adamW({learningRate: 2e-3})});
  const lines = ITEMS.map(item => ({prompt: promptOf(textOf(item)), completion: formatOf(item)}));
  const batches = await encodeChats(model, tokenizer, lines, {batchSize: 4, maxLength: 28, seed: 1});
  const {history} = await model.fitDataset(batches, {
    ...{epochs: QUICK ? 1 : 3, verbose: 0},
    callbacks: [learningRateSchedule({warmup: 0.1})],
  });
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
const millisecondsOf = (inputs: AdapterInputs | null) => {
  const start = performance.now();
  use(inputs);
  return (performance.now() - start).toFixed(2);
};
const names = ['none', ...Object.keys(adapters)];
const switches = [];
const answers: string[][] = [];
for (const name of names) {
  const inputs = adapters[name] ?? null;
  const size = Object.values(inputs ?? {}).reduce((sum, {data}) => sum + data.byteLength, 0);
  const first = millisecondsOf(inputs);
  use(null);
  switches.push([name, (size / 1000).toFixed(0), first, millisecondsOf(inputs)]);
  const texts = [];
  for (const item of HELD_OUT) {
    const prompt = promptOf(textOf(item));
    const [[{generated_text: text}]] = (await generator([prompt], options)) as [[{generated_text: string}]];
    texts.push(firstLine(text));
  }
  answers.push(texts);
}
const correct = names.map((name, column) => {
  const isCorrect = (item: string, i: number) => answers[column]![i] === FORMATS[name]?.(item).trim();
  return `${HELD_OUT.filter(isCorrect).length} of ${HELD_OUT.length}`;
});
const shown = HELD_OUT.map((item, i) => [item, ...answers.map(texts => texts[i]!.slice(0, 24))]);
console.log(`\n${table([['adapter', 'kB', 'first switch, ms', 'later, ms'], ...switches])}\n`);
console.log(`${table([['Buy …', ...names], ...shown, ['correct', ...correct]])}\n`);
const [all, graph] = [folder[`${path}_data`]!.length, file.length];
console.log(`The weights are ${(all / 1e6).toFixed(0)} MB, the graph ${(graph / 1e6).toFixed(1)} MB.`);
if (QUICK) {
  console.log(SHORT);
}
