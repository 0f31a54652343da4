/**
 * Compares bases for LoRA on kitchen orders (4 bits, 8 bits, and float32) with full fine-tuning and with examples in the
 * prompt. Takes hours. Each run is added to output/results.json when it ends, and later calls go on from there.
 *
 *     npm run study -- language
 */
import {existsSync, mkdirSync, openAsBlob, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {
  adamW,
  applyLoRA,
  compileModel,
  disposeModel,
  getAdapter,
  startWasm,
  toSafetensors,
  trainableVariables,
} from 'tfjs-lora';
import {encodeChats, generateTexts, loadGGUF, type Tokenizer} from 'tfjs-lora/language';
import {quantizeBase} from 'tfjs-lora/quantized';
import {crossEntropyFromLogits} from 'tfjs-lora/transformers';
import {smollm2} from '../../scripts/pretrained';
import {mean, percent, table} from '../shared/report';
import {isTicket, makeOrders, type Order} from './orders';

interface Base {
  model: tf.LayersModel;
  tokenizer: Tokenizer;
}

/** The perplexity of the expected tickets, the share of answers in their format, and the share that equals them. */
type Scores = [perplexity: number, valid: number, correct: number];

interface Run {
  scores: Scores;
  /** How many parameters train, the CPU time of training on one core, and the sizes of the base and of the file. */
  costs: [parameters: number, seconds: number, megabytes: number, kilobytes: number];
}

const SETUPS = ['LoRA on 4 bits', 'LoRA on 8 bits', 'LoRA on float32', 'full fine-tuning'];
const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));
const RESULTS = join(OUTPUT, 'results.json');
const {train, test} = makeOrders({train: 240, test: 24});

await startWasm();
tf.enableProdMode();
mkdirSync(OUTPUT, {recursive: true});
/** By setup and seed, and the base without training. */
const runs: Record<string, Run> = existsSync(RESULTS)
  ? (JSON.parse(readFileSync(RESULTS, 'utf8')) as Record<string, Run>)
  : {};

await once('base', () => untrained(''));
const examples = train.slice(0, 3).map(({prompt, completion}) => `${prompt}${completion}\n\n`);
await once('base, three examples', () => untrained(examples.join('')));
for (const setup of SETUPS) {
  for (const seed of setup === 'full fine-tuning' ? [1] : [1, 2, 3]) {
    await once(`${setup}, seed ${seed}`, () => trained(setup, seed));
  }
}
const rows = ['base', 'base, three examples', ...SETUPS].map(name => {
  const all = Object.keys(runs)
    .filter(key => key === name || key.startsWith(`${name}, seed`))
    .map(key => runs[key]!);
  const [perplexity, valid, correct] = [0, 1, 2].map(i => mean(all.map(({scores}) => scores[i]!)));
  const costs = [0, 1, 2, 3].map(i => mean(all.map(run => run.costs[i]!)));
  const numbers = costs.map(cost => cost.toLocaleString('en', {maximumFractionDigits: 0}));
  return [name, perplexity!.toFixed(3), percent(valid!), percent(correct!), ...numbers];
});
const head = ['', 'perplexity', 'valid', 'correct', 'parameters', 'CPU, s', 'base, MB', 'file, kB'];
console.log(`\n${table([head, ...rows])}`);

async function once(name: string, run: () => Promise<Run>): Promise<void> {
  if (runs[name] === undefined) {
    runs[name] = await run();
    console.log(`${name}: ${JSON.stringify(runs[name])}`);
    writeFileSync(RESULTS, JSON.stringify(runs, null, 1));
  }
}

async function untrained(before: string): Promise<Run> {
  const base = await baseOf('LoRA on 4 bits');
  const scores = await score(base, before);
  disposeModel(base.model);
  return {scores, costs: [0, 0, 0, 0]};
}

async function trained(setup: string, seed: number): Promise<Run> {
  const {numBytes} = tf.memory();
  const base = await baseOf(setup);
  const megabytes = (tf.memory().numBytes - numBytes) / 1e6;
  const isFull = setup === 'full fine-tuning';
  const model = isFull ? base.model : applyLoRA(base.model, {rank: 8, alpha: 16, targets: [/[qv]_proj$/], seed});
  compileModel(model, {optimizer: adamW({learningRate: isFull ? 1e-4 : 2e-3})});
  const data = await encodeChats(model, base.tokenizer, train, {batchSize: 4, maxLength: 64, seed});
  const begin = process.cpuUsage();
  await model.fitDataset(data, {epochs: 1, verbose: 0});
  const {user, system} = process.cpuUsage(begin);
  const scores = await score({...base, model}, '');
  const parameters = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
  const adapter = isFull ? undefined : getAdapter(model);
  const bytes = adapter === undefined ? 4 * parameters : (await toSafetensors(adapter)).length;
  adapter?.dispose();
  new Set([model, base.model]).forEach(disposeModel);
  return {scores, costs: [parameters, (user + system) / 1e6, megabytes, bytes / 1000]};
}

/** Loads SmolLM2-135M-Instruct: in 4 bits as in its file (Q4_1), requantized to 8 bits, or as float32. */
async function baseOf(setup: string): Promise<Base> {
  const {model, tokenizer} = await loadGGUF(await openAsBlob(smollm2()), {quantized: setup === 'LoRA on 4 bits'});
  if (setup !== 'LoRA on 8 bits') {
    return {model, tokenizer};
  }
  const requantized = await quantizeBase(model, {bits: 8});
  disposeModel(model);
  return {model: requantized, tokenizer};
}

/** Measures a model on held-out orders, with `before` in front of each. */
async function score({model, tokenizer}: Base, before: string): Promise<Scores> {
  const asked = test.map(({prompt, completion}) => ({prompt: before + prompt, completion}));
  const prompts = asked.map(({prompt}) => prompt);
  const answers = await generateTexts(model, tokenizer, prompts, {maxTokens: 24, stop: ['\n']});
  const correct = answers.filter((answer, i) => answer === test[i]!.completion);
  const shares = [answers.filter(isTicket), correct].map(({length}) => length / answers.length) as [number, number];
  return [await perplexityOfTickets({model, tokenizer}, asked), ...shares];
}

/** The perplexity of the tickets alone, each with its end-of-text token. */
async function perplexityOfTickets({model, tokenizer}: Base, orders: Order[]): Promise<number> {
  const batches = await encodeChats(model, tokenizer, orders, {batchSize: 8, maxLength: 256});
  let [sum, count] = [0, 0];
  await batches.forEachAsync(({xs, ys}) => {
    tf.tidy(() => {
      const labels = ys as unknown as tf.Tensor2D;
      const tokens = tf.sum(tf.cast(tf.greaterEqual(labels, 0), 'float32')).dataSync()[0]!; // −100 in orders
      const logits = model.predict(xs as unknown as tf.Tensor[]) as tf.Tensor;
      sum += crossEntropyFromLogits(labels, logits).dataSync()[0]! * tokens;
      count += tokens;
    });
  });
  return Math.exp(sum / count);
}
