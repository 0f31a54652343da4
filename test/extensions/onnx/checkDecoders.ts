// Writes decoders with a cache and runs them in ONNX Runtime: batches of three lengths with padding on the left, first
// the whole texts, then all but the last token and that one with the cache. Part of `npm run check -- lastmile`.

import {execFileSync} from 'node:child_process';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {CACHE, install} from '../../../scripts/graphModels/cache';
import {applyLoRA, LoRAError} from '../../../src/index';
import {disposeModel} from '../../../src/node';
import {loadGGUF} from '../../../src/language';
import {quantizeBase} from '../../../src/quantized';
import {loadTransformer} from '../../../src/transformers';
import {stirFactors} from '../../models';
import {fileOf, GGUF_NAMES} from '../language/ggufFiles';
import {fixture} from '../transformers/fixtures';
import {blockDecoder, CACHES, FAMILIES, wideCases, wideModel, writeFolder} from './decoders';

/** Those whose heads have 8 values. */
const DECODERS = ['phi3', 'gpt2'];
const BITS = [8, 4] as const;
const LIMIT = 1e-5;
/** How many configs of a family. */
const CASES = 3;

const SCRIPT = `
import {readFileSync} from 'node:fs';
const {file, ids, mask, places} = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const session = await ort.InferenceSession.create(file, {logSeverityLevel: 3});
const whole = rows => new ort.Tensor('int64', BigInt64Array.from(rows.flat().map(BigInt)), [rows.length, rows[0].length]);
const past = {};
for (const {name, shape} of session.inputMetadata) {
  if (name.startsWith('past')) {
    past[name] = empty(shape, ids.length);
  }
}
const cut = (rows, from, to) => rows.map(row => row.slice(from, to));
const run = async (cache, from, to) => session.run({
  input_ids: whole(cut(ids, from, to)), attention_mask: whole(cut(mask, 0, to)),
  position_ids: whole(cut(places, from, to)), ...cache});
const length = ids[0].length;
const {logits} = await run(past, 0, length);
const first = await run(past, 0, length - 2);
const next = y => Object.fromEntries(Object.keys(past).map(name => [name, y[presentOf(name)]]));
const second = await run(next(first), length - 2, length - 1);
const third = await run(next(second), length - 1, length);
console.log('RESULT' + JSON.stringify({logits: [...logits.data], last: [...third.logits.data], width: logits.dims[2]}));
`;

const LENGTHS = [6, 3, 5];

/** Random texts, padded on the left. */
function texts(vocabulary: number) {
  const most = Math.max(...LENGTHS);
  const rows = (valueOf: (i: number, text: number) => number) =>
    LENGTHS.map((length, text) =>
      Array.from({length: most}, (_, i) => (i < most - length ? 0 : valueOf(i - most + length, text))),
    );
  return {
    ids: rows((i, text) => (7 * i + 11 * text + 5) % vocabulary),
    mask: rows(() => 1),
    places: rows(i => i),
  };
}

async function difference(out: string, model: tf.LayersModel, options = {}): Promise<number> {
  const file = join(out, await writeFolder(out, model, options));
  const vocabulary = model.outputs[0]!.shape[2]!;
  const given = texts(vocabulary);
  const script = join(CACHE, 'decoder.mjs');
  writeFileSync(script, `${CACHES}${SCRIPT}`);
  writeFileSync(join(out, 'given.json'), JSON.stringify({file, ...given}));
  const printed = execFileSync('node', [script, join(out, 'given.json')], {encoding: 'utf8', maxBuffer: 2 ** 28});
  rmSync(script);
  const {logits, last} = JSON.parse(printed.split('RESULT')[1]!) as Record<'logits' | 'last', number[]>;
  // What each text gives alone, without padding.
  let furthest = 0;
  let largest = 0;
  const most = given.ids[0]!.length;
  LENGTHS.forEach((length, text) => {
    const values = tf.tidy(() => {
      const ids = tf.tensor2d([given.ids[text]!.slice(most - length)], undefined, 'int32');
      return (model.predict([ids, tf.onesLike(ids)]) as tf.Tensor).dataSync();
    });
    const at = (text * most + most - length) * vocabulary;
    values.forEach((value, i) => {
      largest = Math.max(largest, Math.abs(value));
      furthest = Math.max(furthest, Math.abs(value - logits[at + i]!));
      const ofLast = i - (length - 1) * vocabulary;
      if (ofLast >= 0) {
        furthest = Math.max(furthest, Math.abs(value - last[text * vocabulary + ofLast]!));
      }
    });
  });
  return furthest / largest;
}

/** @returns how many decoders differ. */
export async function checkDecoders(names: readonly string[] = DECODERS, families = FAMILIES): Promise<number> {
  install(['onnxruntime-node@1.30.0']);
  const out = mkdtempSync(join(tmpdir(), 'decoders-'));
  let failed = 0;
  const report = (name: string, far: number) => {
    failed += far <= LIMIT ? 0 : 1;
    console.log(`${far <= LIMIT ? 'ok  ' : 'FAR '} ${name}: ${far.toExponential(1)}`);
  };
  for (const name of names) {
    const {config, weights, tied} = fixture(name);
    const {model: base} = await loadTransformer({config, weights, tied, tokenizer: false});
    const model = applyLoRA(base, {rank: 1, seed: 1});
    stirFactors(model);
    report(`${name}, adapter merged`, await difference(join(out, name), model));
    [model, base].forEach(disposeModel);
  }
  for (const family of families) {
    let count = 0;
    for (const drawn of wideCases(family)) {
      let model: tf.LayersModel | undefined;
      try {
        ({model} = await wideModel(drawn));
        report(`${family}, random config ${drawn.seed}`, await difference(join(out, `${family}-${drawn.seed}`), model));
        count++;
      } catch (error) {
        if (!(error instanceof LoRAError)) {
          throw error;
        }
        console.log(`     ${family}, random config ${drawn.seed}: ${error.message.split('\n').at(-1)}`);
      } finally {
        model?.dispose();
      }
      if (count === CASES) {
        break;
      }
    }
  }
  for (const [name, changed] of Object.entries({
    llama: {},
    window: {model_type: 'mistral', architectures: ['MistralForCausalLM'], sliding_window: 3},
  })) {
    const {model: base} = await loadTransformer({...blockDecoder(changed), tokenizer: false});
    report(`${name} float32`, await difference(join(out, name), base));
    for (const bits of BITS) {
      const blocks = await quantizeBase(base, {bits});
      report(`${name} in ${bits} bits`, await difference(join(out, name, String(bits)), blocks));
      disposeModel(blocks);
    }
    disposeModel(base);
  }
  const {model: halves} = await loadTransformer({...blockDecoder({}, 'F16'), tokenizer: false});
  report('llama float16', await difference(join(out, 'halves'), halves, {dtype: 'float16'}));
  disposeModel(halves);
  // The file of Phi-3 has angles that depend on the length.
  for (const name of [...GGUF_NAMES.filter(gguf => gguf !== 'phi3'), 'lfm2']) {
    const {model} = await loadGGUF(fileOf(name));
    report(`${name} of GGUF`, await difference(join(out, 'gguf', name), model));
    disposeModel(model);
  }
  rmSync(out, {recursive: true});
  return failed;
}
