// Compares all-MiniLM-L6-v2 with what PyTorch computed, and trains an adapter on it and on each tiny model of the
// fixtures, which PEFT is then to load. Beside each stands its base as it is written here:
//
//     tsx test/python/exportTransformers.ts EXPECTED FOLDER

import {mkdirSync, readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {
  adam,
  applyLoRA,
  disposeModel,
  exportPEFT,
  getAdapter,
  loadAdapter,
  type LoRAConfig,
  mergeLoRA,
} from 'tfjs-lora';
import {
  addTokens,
  encodeTexts,
  exportTransformer,
  loadTransformer,
  trainableTokens,
  type TransformerSources,
} from 'tfjs-lora/transformers';
import {minilm} from '../../scripts/pretrained';
import {configText} from '../../src/extensions/transformers/load/configText';
import {FLOATS, FLOATS_OF} from '../../src/extensions/transformers/load/floatFields';
import {type Inputs, inputsOf, wordTokenizer} from '../extensions/transformers/fixtures';

const FIXTURES = join(dirname(fileURLToPath(import.meta.url)), '../fixtures/transformers');
/**
 * Adapters with layers that train in full, a token embedding that is the head too among them; and without layers that
 * PEFT has no updates of, since they are no modules of their own in PyTorch, or not those that compute.
 */
const OTHERS: Readonly<Record<string, LoRAConfig>> = {
  debertaV2NewTiedWords: {exclude: ['lm_predictions/lm_head']},
  siglipPairs: {exclude: [/vision_model\/head\/attention/]},
  siglip2Pairs: {exclude: [/vision_model\/head\/attention/], trainInFull: [/position_embedding$/]},
  gpt2: {targets: [/c_attn$/], trainInFull: [/h\/\d\/attn\/c_proj$/, /c_fc$/]},
  gpt2TiedApart: {targets: [/c_attn$/], trainInFull: ['transformer/wte']},
  // What these return hardly depends on their attention.
  mobilevit: {trainInFull: [/conv_1x1_exp\/convolution$/]},
  mobilevitClasses: {trainInFull: ['classifier']},
  llamaTiedTrained: {targets: [/q_proj$/], trainInFull: ['model/embed_tokens']},
};
/** Tokens whose embeddings train beside, which is also the head. */
const TOKENS: Readonly<Record<string, number[]>> = {llamaScaled: [3, 17]};
/** Models that get new tokens, which train with LoRA or alone, in PEFT's own type. */
const ADDED: Readonly<Record<string, {lora: boolean}>> = {
  ...{llama: {lora: true}, qwen2: {lora: true}, llamaTied: {lora: false}, mistral: {lora: false}},
};
/** Of what MiniLM gives, which lies between −5 and 5. */
const TOLERANCE = 2e-5;

interface Expected extends Inputs {
  texts: string[];
  shape: number[];
  base: number[];
  adapted: number[];
  merged: number[];
}

const [expectedFolder = '', folder = ''] = process.argv.slice(2);
await tf.setBackend('wasm');
tf.enableProdMode();

function outputOf(model: tf.LayersModel, inputs: Inputs): tf.Tensor {
  return tf.tidy(() => model.predict(inputsOf(inputs)) as tf.Tensor);
}

/** The model that an adapter is trained on, and the ids of its new tokens, if it gets any. */
async function baseOf(name: string, sources: TransformerSources): Promise<{model: tf.LayersModel; added?: number[]}> {
  if (ADDED[name] === undefined) {
    return loadTransformer(sources);
  }
  const words = Array.from({length: (JSON.parse(sources.config as string) as {vocab_size: number}).vocab_size});
  const tokenizerJson = wordTokenizer(words.map((_, i) => (i === 0 ? '[UNK]' : `w${i}`)));
  const {model, tokenizer} = await loadTransformer({...sources, tokenizerJson});
  const {model: larger, ids} = addTokens(model, tokenizer, ['<one>', '<other>']);
  disposeModel(model);
  return {model: larger, added: ids};
}

/** A config whose floats are whole numbers, which Python only reads as floats with a decimal point. */
function ofWholeFloats(config: object): Record<string, unknown> {
  const type = (config as {model_type?: string}).model_type ?? '';
  const isFloat = (name: string) => FLOATS.has(name) || FLOATS_OF.get(name)?.includes(type) === true;
  return Object.fromEntries(
    Object.entries(config).map(([name, value]: [string, unknown]) => {
      const isPart = typeof value === 'object' && value !== null && !Array.isArray(value);
      return [name, isPart ? ofWholeFloats(value) : isFloat(name) && typeof value === 'number' ? 1 : value];
    }),
  );
}

/** Trains an adapter for a few steps and writes it, and what the model gives with it. */
async function train(name: string, sources: TransformerSources, inputs: Inputs, config: LoRAConfig): Promise<void> {
  const {model: base, added = []} = await baseOf(name, sources);
  const lora = {rank: 2, seed: 1, ...config};
  const tokens = TOKENS[name] ?? added;
  const options = {head: added.length > 0, ...(ADDED[name]?.lora !== false && {lora})};
  const model = applyLoRA(base, tokens.length === 0 ? lora : trainableTokens(base, tokens, options));
  added.forEach((token, i) => (inputs.ids[0]![i] = token));
  const before = outputOf(model, inputs);
  const targets = tf.tidy(() => tf.add(before, tf.randomNormal(before.shape, 0, 1, 'float32', 3)));
  model.compile({optimizer: adam({learningRate: 0.01}), loss: 'meanSquaredError'});
  const given = inputsOf(inputs);
  await model.fit(given, targets, {epochs: 5, verbose: 0});
  const adapter = getAdapter(model);
  const files = await exportPEFT(model, {adapter});
  const target = join(folder, name);
  const whole = await exportTransformer(base);
  mkdirSync(join(target, 'base'), {recursive: true});
  writeFileSync(join(target, 'base/config.json'), whole.config);
  writeFileSync(join(target, 'base/model.safetensors'), whole.weights);
  writeFileSync(join(target, 'base/whole.json'), configText(ofWholeFloats(JSON.parse(whole.config) as object)));
  writeFileSync(join(target, 'adapter_config.json'), JSON.stringify(files.config));
  writeFileSync(join(target, 'adapter_model.safetensors'), files.weights);
  const after = outputOf(model, inputs);
  const moved = tf.tidy(() => tf.max(tf.abs(tf.sub(after, before))).dataSync()[0]);
  const result = {...inputs, added: added.length, moved, output: Array.from(after.dataSync())};
  writeFileSync(join(target, 'tfjs.json'), JSON.stringify(result));
  tf.dispose([...given, targets, before, after, ...Object.values(adapter.tensors)]);
  [model, base].forEach(disposeModel);
}

for (const name of readdirSync(FIXTURES)) {
  const text = (file: string) => readFileSync(join(FIXTURES, name, file), 'utf8');
  const weights = new Uint8Array(readFileSync(join(FIXTURES, name, 'model.safetensors')));
  const inputs = JSON.parse(text('expected.json')) as Expected;
  await train(name, {config: text('config.json'), weights}, inputs, OTHERS[name] ?? {});
}

const {config, weights, tokenizer} = await minilm();
const expected = JSON.parse(readFileSync(join(expectedFolder, 'expected.json'), 'utf8')) as Expected;
const adapterFiles = {
  config: readFileSync(join(expectedFolder, 'adapter_config.json'), 'utf8'),
  weights: new Uint8Array(readFileSync(join(expectedFolder, 'adapter_model.safetensors'))),
};

const {model: base} = await loadTransformer({config, weights});
const encoded = encodeTexts(base, tokenizer, expected.texts, {maxLength: 128});
const numbers = [encoded.inputIds, encoded.attentionMask].map(tensor => JSON.stringify(tensor.arraySync()));
if (
  numbers[0] !== JSON.stringify(expected.ids.slice(0, -1)) ||
  numbers[1] !== JSON.stringify(expected.mask.slice(0, -1))
) {
  throw new Error('The tokenizer gives other numbers than that of transformers.');
}
const adapter = await loadAdapter(adapterFiles, {model: base});
const adapted = applyLoRA(base, adapter);
const models = {base, adapted, merged: mergeLoRA(adapted)};
console.log('| all-MiniLM-L6-v2 | largest difference at tokens | where there is padding |\n| --- | --- | --- |');
let worst = 0;
for (const [name, model] of Object.entries(models)) {
  const values = outputOf(model, expected).dataSync();
  const [atTokens, atPadding] = [0, 0];
  const largest = {tokens: atTokens, padding: atPadding};
  const width = expected.shape[2]!;
  const bits = expected.mask.flat();
  values.forEach((value, i) => {
    const where = bits[Math.floor(i / width)] === 1 ? 'tokens' : 'padding';
    const difference = Math.abs(value - expected[name as keyof typeof models][i]!);
    largest[where] = Math.max(largest[where], Number.isNaN(difference) ? Infinity : difference);
  });
  worst = Math.max(worst, largest.tokens);
  console.log(`| ${name} | ${largest.tokens.toExponential(1)} | ${largest.padding.toExponential(1)} |`);
}
console.log();
if (worst > TOLERANCE) {
  throw new Error(`MiniLM differs from PyTorch by ${worst}.`);
}
await train('minilm', {config, weights}, expected, {
  targets: ['query', 'value'].map(part => new RegExp(`self/${part}$`)),
});
