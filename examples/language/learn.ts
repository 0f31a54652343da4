import {openAsBlob} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import {adamW, applyLoRA, compileModel, disposeModel, getAdapter, toSafetensors} from 'tfjs-lora';
import {encodeChats, exportGGUF, generateTexts, type Tokenizer, loadGGUF} from 'tfjs-lora/language';
import {quantizeBase} from 'tfjs-lora/quantized';
import {crossEntropyFromLogits} from 'tfjs-lora/transformers';
import {smollm2} from '../../scripts/pretrained';
import {isTicket, type Order} from './data';

export const ARMS = ['LoRA on 4 bits', 'LoRA on 8 bits', 'LoRA on float32', 'full fine-tuning'] as const;
export type Arm = (typeof ARMS)[number];

/** How a model does on held-out orders. */
export interface Measured {
  /** The perplexity of the expected tickets, given the orders. */
  perplexity: number;
  /** The share of answers that have the format of a ticket. */
  valid: number;
  /** The share of answers that equal the expected ticket. */
  correct: number;
  /** The answers to the first few orders. */
  samples: string[];
}

export interface Outcome {
  before: Measured;
  /** The base with three examples in the prompt, on the first few orders. */
  withExamples: Measured | undefined;
  after: Measured;
  /** How many parameters train. */
  trained: number;
  /** CPU time of training, on one core. */
  seconds: number;
  /** The size of the base in memory, and of the adapter's file. */
  megabytes: number;
  kilobytes: number;
}

export interface Amounts {
  epochs: number;
  seed: number;
  /** Whether to measure the base also with three examples in the prompt. */
  asksWithExamples: boolean;
  onStep: (step: number, loss: number) => void;
}

/** Orders in a training step, and in a call of `generateTexts`. */
const [BATCH, ASKED] = [4, 8];
/** The most tokens of an order and its ticket. */
const PADDED = 64;
/** How many answers are kept to be shown. */
const SAMPLES = 3;

interface Base {
  model: tf.LayersModel;
  tokenizer: Tokenizer;
}

/** Loads SmolLM2-135M-Instruct: in 4 bits as in its file (Q4_1), requantized to 8 bits, or as float32. */
async function baseOf(arm: Arm): Promise<Base> {
  const quantized = arm === 'LoRA on 4 bits';
  const {model, tokenizer} = await loadGGUF(await openAsBlob(smollm2()), {quantized});
  if (arm !== 'LoRA on 8 bits') {
    return {model, tokenizer};
  }
  const requantized = await quantizeBase(model, {bits: 8});
  disposeModel(model);
  return {model: requantized, tokenizer};
}

/** Trains one setup, and measures it before and after. */
export async function learn(
  arm: Arm,
  {train, test}: {train: Order[]; test: Order[]},
  {epochs, seed, asksWithExamples, onStep}: Amounts,
): Promise<{outcome: Outcome; gguf: Uint8Array | undefined}> {
  const {numBytes} = tf.memory();
  const base = await baseOf(arm);
  const megabytes = (tf.memory().numBytes - numBytes) / 1e6;
  const before = await measure(base, test);
  const examples = train.slice(0, 3).map(({prompt, completion}) => `${prompt}${completion}\n\n`);
  const withExamples = asksWithExamples ? await measure(base, test.slice(0, ASKED), examples.join('')) : undefined;
  const isFull = arm === 'full fine-tuning';
  const model = isFull ? base.model : applyLoRA(base.model, {rank: 8, alpha: 16, targets: [/[qv]_proj$/], seed});
  compileModel(model, {optimizer: adamW({learningRate: isFull ? 1e-4 : 2e-3})});
  const batches = await encodeChats(model, base.tokenizer, train, {batchSize: BATCH, maxLength: PADDED, seed});
  let step = 0;
  const begin = process.cpuUsage();
  await model.fitDataset(batches, {
    epochs,
    verbose: 0,
    callbacks: {onBatchEnd: (_, logs) => onStep(++step, logs!.loss as number)},
  });
  const {user, system} = process.cpuUsage(begin);
  const after = await measure({...base, model}, test);
  const trained = model.trainableWeights.reduce((sum, {shape}) => sum + tf.util.sizeFromShape(shape as number[]), 0);
  const adapter = isFull ? undefined : getAdapter(model);
  const kilobytes = adapter === undefined ? (4 * trained) / 1000 : (await toSafetensors(adapter)).length / 1000;
  const gguf = adapter && (await exportGGUF(model));
  tf.dispose(adapter?.tensors ?? []);
  new Set([model, base.model]).forEach(disposeModel);
  return {outcome: {before, withExamples, after, trained, seconds: (user + system) / 1e6, megabytes, kilobytes}, gguf};
}

/** Measures a model on orders, with `examples` before each. */
async function measure({model, tokenizer}: Base, orders: Order[], examples = ''): Promise<Measured> {
  const answers: string[] = [];
  for (let i = 0; i < orders.length; i += ASKED) {
    const prompts = orders.slice(i, i + ASKED).map(({prompt}) => examples + prompt);
    answers.push(...(await generateTexts(model, tokenizer, prompts, {maxTokens: 24, stop: ['\n']})));
  }
  const share = (holds: (answer: string, i: number) => boolean) => answers.filter(holds).length / answers.length;
  const asked = orders.map(({prompt, completion}) => ({prompt: examples + prompt, completion}));
  return {
    perplexity: await perplexityOfAnswers({model, tokenizer}, asked),
    valid: share(isTicket),
    correct: share((answer, i) => answer === orders[i]!.completion),
    samples: answers.slice(0, SAMPLES),
  };
}

/** The perplexity of the answers alone, each with its end-of-text token. */
async function perplexityOfAnswers({model, tokenizer}: Base, orders: Order[]): Promise<number> {
  const batches = await encodeChats(model, tokenizer, orders, {batchSize: ASKED, maxLength: 4 * PADDED});
  let [sum, count] = [0, 0];
  await batches.forEachAsync(({xs, ys}) => {
    tf.tidy(() => {
      const labels = ys as unknown as tf.Tensor2D;
      const asked = tf.sum(tf.cast(tf.greaterEqual(labels, 0), 'float32')).dataSync()[0]!; // −100 where none is
      const scores = model.predict(xs as unknown as tf.Tensor[]) as tf.Tensor;
      sum += crossEntropyFromLogits(labels, scores).dataSync()[0]! * asked;
      count += asked;
    });
  });
  return Math.exp(sum / count);
}
