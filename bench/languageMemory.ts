// What a LoRA step of SmolLM2-135M takes, by how its base is held: 1 × 256 tokens on wasm, buffers as tfjs counts them.
// Then the time of a step and of a generated token with streamed weights against those in memory, and whether the steps
// have changed the adapters by the same bits.
//
//     npm run bench -- language-memory

import {openAsBlob} from 'node:fs';
import {isDeepStrictEqual} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {adam, applyLoRA, compileModel, disposeModel} from 'tfjs-lora';
import {generateTexts, loadGGUF} from 'tfjs-lora/language';
import {quantizeBase} from 'tfjs-lora/quantized';
import {smollm2} from '../scripts/pretrained';
import {BufferMeter, type Engine} from './bufferMeter';

const PLACES = 256;
const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0);

await tf.setBackend('wasm');
tf.enableProdMode();
console.log('| base | held, MB | peak of a step, MB | with gradientCheckpointing |\n| --- | --- | --- | --- |');
for (const form of ['4 bits (Q4_1)', '4 bits, streamed', '8 bits', 'float32']) {
  const row = [form];
  for (const gradientCheckpointing of [false, true]) {
    const {numBytes} = tf.memory();
    const isStreamed = form.endsWith('streamed');
    const {model: read} = await loadGGUF(isStreamed ? smollm2() : await openAsBlob(smollm2()), {
      ...{gradientCheckpointing, quantized: form.startsWith('4'), weights: isStreamed ? 'streamed' : 'memory'},
    });
    const base = form === '8 bits' ? await quantizeBase(read, {bits: 8}) : read;
    if (base !== read) {
      disposeModel(read);
    }
    const held = tf.memory().numBytes - numBytes;
    const model = applyLoRA(base, {rank: 8, targets: [/[qv]_proj$/], seed: 1});
    const optimizer = adam({learningRate: 1e-4});
    compileModel(model, {optimizer});
    const ids = tf.fill([1, PLACES], 100, 'int32');
    const meter = new BufferMeter(tf.engine() as unknown as Engine);
    await model.trainOnBatch([ids, tf.onesLike(ids)], ids);
    meter.restart();
    await model.trainOnBatch([ids, tf.onesLike(ids)], ids);
    row.push(...(gradientCheckpointing ? [] : [megabytes(held)]), megabytes(held + meter.peak));
    meter.stop();
    ids.dispose();
    optimizer.dispose();
    new Set([model, base]).forEach(disposeModel);
  }
  console.log(`| ${row.join(' | ')} |`);
}

/** How often each base runs, in turn. */
const ROUNDS = 5;
const TOKENS = 16;
const bases = [
  await loadGGUF(await openAsBlob(smollm2()), {gradientCheckpointing: true}),
  await loadGGUF(smollm2(), {gradientCheckpointing: true, weights: 'streamed'}),
];
const models = bases.map(({model}) => applyLoRA(model, {rank: 8, targets: [/[qv]_proj$/], seed: 1}));
models.forEach(model => {
  compileModel(model, {optimizer: adam({learningRate: 1e-4})});
});
const texts = tf.fill([1, PLACES], 100, 'int32');
const mask = tf.onesLike(texts);
const times = models.map((model, i) => ({
  step: () => model.trainOnBatch([texts, mask], texts),
  token: () => generateTexts(model, bases[i]!.tokenizer, ['Once upon a time'], {maxTokens: TOKENS}),
}));
console.log('\n| | streamed ÷ in memory, medians |\n| --- | --- |');
for (const what of ['step', 'token'] as const) {
  const taken: number[][] = [[], []];
  for (let round = 0; round <= ROUNDS; round++) {
    for (const i of round % 2 === 0 ? [0, 1] : [1, 0]) {
      const start = performance.now();
      await times[i]![what]();
      if (round > 0) {
        taken[i]!.push(performance.now() - start);
      }
    }
  }
  const [held = 0, streamed = 0] = taken.map(all => all.sort((one, other) => one - other)[ROUNDS >> 1]!);
  console.log(
    `| ${what === 'step' ? `a step of 1 × ${PLACES} tokens` : 'a token'} | ${(streamed / held).toFixed(2)} |`,
  );
}
const [inMemory, streamed] = models.map(({trainableWeights}) =>
  trainableWeights.map(weight => weight.read().dataSync()),
);
if (!isDeepStrictEqual(inMemory, streamed)) {
  throw new Error('Steps with streamed weights change the adapter by other bits.');
}
console.log(`\nAfter ${ROUNDS + 1} steps both adapters have the same bits.`);
