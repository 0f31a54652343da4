// Compares what llama.cpp and this library make of the same files: the tokens of a thousand texts, those that end what
// is written, and next-token probabilities of SmolLM2-135M-Instruct with an adapter that `exportGGUF` wrote. llama.cpp
// comes from the binaries of node-llama-cpp, which are installed in a temporary folder:
//
//     npm run check -- language
//
// llama.cpp rounds activations to 8 bits where it multiplies with blocks. What this changes is seen on the plain base,
// and the adapter may change no more than that.

import {openAsBlob, readFileSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {type Adapter, applyLoRA, disposeModel, getAdapter, setAdapter} from 'tfjs-lora';
import {exportGGUF, loadGGUF} from 'tfjs-lora/language';
import {smollm2} from '../../../scripts/pretrained';
import {languageFacts} from '../../../src/extensions/transformers/load/languageFacts';
import {drawnTexts} from './drawnTexts';
import type {Job, Tokens} from './llamaCpp';
import {run, withLlamaCpp} from './nodeLlamaCpp';

const TEXT =
  'The quick brown fox jumps over the lazy dog. In 2024, the capital of France was Paris, and the capital of Germany ' +
  'was Berlin. Water boils at one hundred degrees.';
/** How much more than on the base llama.cpp may differ with the adapter, since other activations are rounded. */
const SLACK = 1.25;
/** How many times more than llama.cpp's rounding the adapter has to change, for the comparison to say something. */
const LEAST_MOVED = 10;
/** Tokenizers beside that of SmolLM2. That of Qwen2 composes characters as the hub does, and llama.cpp does not. */
const OTHERS = ['llama', 'llama3', 'gpt2'].map(name => `test/fixtures/gguf/${name}.gguf`);

/** Probabilities of the next token at each position. */
function probabilities(logits: Float32Array, positions: number): tf.Tensor2D {
  return tf.tidy(() => tf.softmax(tf.tensor2d(logits, [positions, logits.length / positions])));
}

/**
 * Half of the sum of the differences of probabilities, the mean over positions: 0 where all agree, 1 where none does.
 */
function distance(one: tf.Tensor2D, other: tf.Tensor2D): number {
  return tf.tidy(() => tf.mean(tf.mul(tf.sum(tf.abs(tf.sub(one, other)), 1), 0.5)).dataSync()[0] as number);
}

await tf.setBackend('wasm');
await withLlamaCpp(async folder => {
  const {model, tokenizer} = await loadGGUF(await openAsBlob(smollm2()));
  const ids = [...tokenizer.encode(TEXT).ids];
  const ours = (of: tf.LayersModel) =>
    tf.tidy(() => {
      const tokens = tf.tensor2d([ids], undefined, 'int32');
      const [scores] = tf.unstack(of.predict([tokens, tf.onesLike(tokens)]) as tf.Tensor3D);
      return tf.softmax(scores as tf.Tensor2D);
    });
  const adapted = applyLoRA(model, {rank: 8, alpha: 16, seed: 1, targets: [/_proj$/]});
  const born = getAdapter(adapted);
  const seeds = Object.keys(born.tensors).map((_, i) => i);
  const moved: Adapter = {
    ...born,
    tensors: Object.fromEntries(
      Object.entries(born.tensors).map(([name, tensor], i) => [
        name,
        name.endsWith('lora_B') ? tf.randomNormal(tensor.shape, 0, 0.2, 'float32', seeds[i]) : tensor,
      ]),
    ),
  };
  setAdapter(adapted, moved);
  const files = ['adapter.gguf', 'base.f32', 'adapted.f32', 'job.json'].map(name => join(folder, name));
  const [adapterFile = '', baseFile = '', adaptedFile = '', job = ''] = files;
  writeFileSync(adapterFile, await exportGGUF(adapted));
  const texts = drawnTexts();
  const tokenFiles = [smollm2(), ...OTHERS].map((file, i) => [file, join(folder, `tokens-${i}.json`)] as const);
  const results = {[baseFile]: null, [adaptedFile]: adapterFile};
  const asked: Job = {base: smollm2(), ids, results, texts, tokens: Object.fromEntries(tokenFiles)};
  writeFileSync(job, JSON.stringify(asked));
  run('npx', 'tsx', join(dirname(fileURLToPath(import.meta.url)), 'llamaCpp.ts'), folder, job);
  const counts = {passed: 0, failed: 0};
  const report = (holds: boolean, what: string) => {
    counts[holds ? 'passed' : 'failed']++;
    console.log(`${holds ? 'ok' : 'NOT OK'}  ${what}`);
  };
  for (const [file, told] of tokenFiles) {
    const theirs = JSON.parse(readFileSync(told, 'utf8')) as Tokens;
    const loaded = await loadGGUF(await openAsBlob(file));
    const differ = texts.filter((text, i) => {
      const own = loaded.tokenizer.encode(text, {add_special_tokens: false}).ids;
      return own.join() !== theirs.ids[i]?.join();
    }).length;
    const ends = [...(languageFacts(loaded.model).ends ?? [])].sort((one, other) => one - other);
    disposeModel(loaded.model);
    const isSame = differ === 0 && ends.join() === theirs.ends.join();
    report(isSame, `${file}: ${differ} of ${texts.length} texts differ; ends ${ends.join()}`);
  }
  const theirs = (file: string) => {
    const bytes = readFileSync(file);
    return probabilities(new Float32Array(new Uint8Array(bytes).buffer), ids.length);
  };
  const [plain, withAdapter] = [ours(model), ours(adapted)];
  const onBase = distance(plain, theirs(baseFile));
  const onAdapted = distance(withAdapter, theirs(adaptedFile));
  const change = distance(plain, withAdapter);
  const share = (value: number) => `${(100 * value).toFixed(2)} %`;
  console.log(`probabilities of ${ids.length} positions: the adapter moves ${share(change)}`);
  console.log(`llama.cpp differs by ${share(onBase)} on the base, by ${share(onAdapted)} with the adapter`);
  const isRight = onAdapted <= SLACK * onBase && change >= LEAST_MOVED * onAdapted;
  report(isRight, 'an adapter in GGUF, in llama.cpp');
  console.log(`${counts.passed} passed, ${counts.failed} failed`);
  process.exitCode = counts.failed > 0 ? 1 : 0;
});
