// Writes decoders with a cache and runs them in ONNX Runtime: batches of three lengths with padding on the left, first
// the whole texts, then all but the last token and that one with the cache. Part of `npm run check -- lastmile`.

import {execFileSync} from 'node:child_process';
import {mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {CACHE, install} from '../../../scripts/graphModels/cache';
import {applyLoRA, LoRAError} from '../../../src/index';
import {disposeModel} from '../../../src/node';
import {toONNX} from '../../../src/onnx';
import {quantizeBase} from '../../../src/quantized';
import {loadTransformer} from '../../../src/transformers';
import {encodeSafetensors} from '../../../src/platform/formats/encodeSafetensors';
import {stirFactors} from '../../models';
import {type ConfigCase, configsOf, weightsOf} from '../transformers/configs';
import {fixture} from '../transformers/fixtures';

/** Those whose heads have 8 values. */
const DECODERS = ['phi3', 'gpt2'];
const BITS = [8, 4] as const;
const LIMIT = 1e-5;
/** How many configs of a family. */
const CASES = 3;

const SCRIPT = `
import {readFileSync} from 'node:fs';
import ort from 'onnxruntime-node';
const {file, ids, mask, places} = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const session = await ort.InferenceSession.create(file, {logSeverityLevel: 3});
const whole = rows => new ort.Tensor('int64', BigInt64Array.from(rows.flat().map(BigInt)), [rows.length, rows[0].length]);
const past = {};
for (const {name, shape} of session.inputMetadata) {
  if (name.startsWith('past')) {
    past[name] = new ort.Tensor('float32', new Float32Array(0), [ids.length, shape[1], 0, shape[3]]);
  }
}
const cut = (rows, from, to) => rows.map(row => row.slice(from, to));
const run = async (cache, from, to) => session.run({
  input_ids: whole(cut(ids, from, to)), attention_mask: whole(cut(mask, 0, to)),
  position_ids: whole(cut(places, from, to)), ...cache});
const length = ids[0].length;
const {logits} = await run(past, 0, length);
const first = await run(past, 0, length - 2);
const next = y => Object.fromEntries(Object.keys(past).map(name => [name, y[name.replace('past_key_values', 'present')]]));
const second = await run(next(first), length - 2, length - 1);
const third = await run(next(second), length - 1, length);
console.log('RESULT' + JSON.stringify({logits: [...logits.data], last: [...third.logits.data], width: logits.dims[2]}));
`;

/** A decoder like Llama whose matrices have rows of whole blocks. */
function blockDecoder(changed: object) {
  const config = {
    ...{model_type: 'llama', architectures: ['LlamaForCausalLM'], hidden_size: 64, num_hidden_layers: 2},
    ...{num_attention_heads: 4, num_key_value_heads: 2, intermediate_size: 96, vocab_size: 70},
    ...{max_position_embeddings: 64, tie_word_embeddings: true, ...changed},
  };
  let state = 1;
  const tensor = (shape: number[]) => ({
    shape,
    data: Float32Array.from({length: shape.reduce((a, b) => a * b)}, () => {
      state = (state * 48271) % 2147483647;
      return state / 2147483647 - 0.5;
    }),
  });
  const layer = (i: number) => ({
    [`model.layers.${i}.input_layernorm.weight`]: tensor([64]),
    [`model.layers.${i}.post_attention_layernorm.weight`]: tensor([64]),
    [`model.layers.${i}.self_attn.q_proj.weight`]: tensor([64, 64]),
    [`model.layers.${i}.self_attn.k_proj.weight`]: tensor([32, 64]),
    [`model.layers.${i}.self_attn.v_proj.weight`]: tensor([32, 64]),
    [`model.layers.${i}.self_attn.o_proj.weight`]: tensor([64, 64]),
    [`model.layers.${i}.mlp.gate_proj.weight`]: tensor([96, 64]),
    [`model.layers.${i}.mlp.up_proj.weight`]: tensor([96, 64]),
    [`model.layers.${i}.mlp.down_proj.weight`]: tensor([64, 96]),
  });
  const ends = {'model.embed_tokens.weight': tensor([70, 64]), 'model.norm.weight': tensor([64])};
  return {config, weights: encodeSafetensors({...layer(0), ...layer(1), ...ends}, {dtype: 'F32'})};
}

const FAMILIES = [
  ...['gemma', 'gemma2', 'gemma3_text', 'gpt2', 'gpt_neox', 'granite', 'llama', 'mistral', 'olmo2', 'olmo3', 'opt'],
  ...['phi', 'phi3', 'qwen2', 'qwen3', 'smollm3'],
];

/** The language models among the random configs of a family, with heads of 8 values, which the operation needs. */
function* wideCases(family: string): Generator<ConfigCase> {
  for (const drawn of configsOf(family).cases) {
    const {n_embd, n_head, num_attention_heads: heads = n_head} = drawn.config as Record<string, number>;
    const width = 8 * heads!;
    const isLanguageModel = /CausalLM|LMHead/.test(drawn.architecture) && drawn.config.is_causal !== false;
    if (isLanguageModel && drawn.values !== null) {
      const {head_dim, word_embed_proj_dim} = drawn.config as Record<string, number>;
      const config = {
        ...drawn.config,
        ...(n_embd === undefined ? {hidden_size: width} : {n_embd: width}),
        ...(head_dim != null && {head_dim: 8}),
        ...(word_embed_proj_dim != null && {word_embed_proj_dim: width}),
      };
      yield {...drawn, config};
    }
  }
}

/** The model of a case, whose tensors get the shapes of its config: errors state some of them at a time. */
async function wideModel(drawn: ConfigCase): Promise<tf.LayersModel> {
  const {config, architecture} = drawn;
  let {tensors} = drawn;
  for (;;) {
    try {
      const weights = weightsOf({...drawn, tensors});
      return (await loadTransformer({config: JSON.stringify(config), weights, architecture, tokenizer: false})).model;
    } catch (error) {
      const shapes = new Map(
        [...(error as Error).message.matchAll(/(\S+): shape \[[^\]]*\] in the file, \[([^\]]*)\] by the config/g)].map(
          ([, name, sizes]) => [name, sizes!.split(',').map(Number)] as const,
        ),
      );
      if (shapes.size === 0) {
        throw error;
      }
      tensors = tensors.map(({name, shape}) => ({name, shape: shapes.get(name) ?? shape}));
    }
  }
}

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

async function difference(out: string, model: tf.LayersModel): Promise<number> {
  const files = await toONNX(model, {folder: true});
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(out, path)), {recursive: true});
    writeFileSync(join(out, path), content);
  }
  const file = join(
    out,
    Object.keys(files).find(path => path.endsWith('.onnx'))!,
  );
  const vocabulary = model.outputs[0]!.shape[2]!;
  const given = texts(vocabulary);
  const script = join(CACHE, 'decoder.mjs');
  writeFileSync(script, SCRIPT);
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

/** @returns whether all decoders agree. */
export async function checkDecoders(names: readonly string[] = DECODERS): Promise<boolean> {
  install(['onnxruntime-node@1.30.0']);
  const out = mkdtempSync(join(tmpdir(), 'decoders-'));
  let agrees = true;
  const report = (name: string, far: number) => {
    agrees &&= far <= LIMIT;
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
  for (const family of FAMILIES) {
    let count = 0;
    for (const drawn of wideCases(family)) {
      let model: tf.LayersModel | undefined;
      try {
        model = await wideModel(drawn);
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
  rmSync(out, {recursive: true});
  return agrees;
}
