// What a LoRA step of SmolLM2-135M takes, by how its base is held: 1 × 256 tokens on wasm, buffers as tfjs counts them.
// Then the time of a step and of a generated token with streamed weights against those in memory, and whether the steps
// have changed the adapters by the same bits.
//
//     npm run bench -- language-memory

import {openAsBlob} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {adam, applyLoRA, compileModel, disposeModel} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import {quantizeBase} from 'tfjs-lora/quantized';
import {smollm2} from '../scripts/pretrained';
import {BufferMeter, type Engine} from './bufferMeter';
import {streamedRatios} from './streamed/inTurn';

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

const {model: inMemory} = await loadGGUF(await openAsBlob(smollm2()), {gradientCheckpointing: true, tokenizer: false});
const {model: streamed, tokenizer} = await loadGGUF(smollm2(), {gradientCheckpointing: true, weights: 'streamed'});
const {step, token} = await streamedRatios({inMemory, streamed}, {positions: PLACES, clock: 'cpu', tokenizer});
console.log('\n| | streamed ÷ in memory, medians by processor time |\n| --- | --- |');
console.log(`| a step of 1 × ${PLACES} tokens | ${step.toFixed(2)} |\n| a token | ${token!.toFixed(2)} |`);
console.log('\nThe adapters have the same bits.');
