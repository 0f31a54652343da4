// Exports encoders as folders for transformers.js, which loads them in Node and computes with ONNX Runtime: part of
// `npm run check -- onnx`.

import {execFileSync} from 'node:child_process';
import {mkdirSync, rmSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {applyLoRA} from '../../../src/index';
import {disposeModel} from '../../../src/node';
import {toONNX} from '../../../src/onnx';
import {embed, loadTransformer} from '../../../src/transformers';
import {CACHE, install} from '../../../scripts/graphModels/cache';
import {stirFactors} from '../../models';
import {fixture, wordTokenizer} from '../transformers/fixtures';

const PACKAGE = '@huggingface/transformers@4.3.2';
const WORDS = ['[PAD]', '[UNK]', 'the', 'cat', 'dog', 'sat', 'ran', 'home', 'again', 'on', 'a', 'mat'];
const TEXTS = ['the cat sat on the mat', 'a dog ran home', 'the dog sat again on the mat again'];

const tokenizerJson = wordTokenizer(WORDS);
const tokenizerConfig = {tokenizer_class: 'PreTrainedTokenizer', unk_token: '[UNK]', pad_token: '[PAD]'};

const SCRIPT = `
import {env, pipeline} from '@huggingface/transformers';
const [folder, texts] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = folder;
const extract = await pipeline('feature-extraction', 'encoder', {dtype: 'fp32'});
const output = await extract(JSON.parse(texts), {pooling: 'mean', normalize: true});
console.log('RESULT' + JSON.stringify(output.tolist()));
`;

/** @returns the largest difference between embeddings of transformers.js and ours. */
export async function compareTransformersJs(out: string): Promise<number> {
  install([PACKAGE]);
  const {config, weights} = fixture('bert');
  const base = await loadTransformer({config, weights, pooling: 'mean', tokenizerJson, tokenizerConfig});
  const model = applyLoRA(base.model, {rank: 2, seed: 1});
  stirFactors(model);
  const files = await toONNX(model, {folder: true, tokenizer: base.tokenizer});
  for (const [path, content] of Object.entries(files)) {
    const file = join(out, 'encoder', path);
    mkdirSync(dirname(file), {recursive: true});
    writeFileSync(file, content);
  }
  const script = join(CACHE, 'embed.mjs');
  writeFileSync(script, SCRIPT);
  const printed = execFileSync('node', [script, out, JSON.stringify(TEXTS)], {encoding: 'utf8'});
  rmSync(script);
  const actual = (JSON.parse(printed.split('RESULT')[1]!) as number[][]).flat();
  const own = await embed(model, base.tokenizer, TEXTS);
  const expected = Array.from(await own.data());
  own.dispose();
  [model, base.model].forEach(disposeModel);
  return Math.max(...expected.map((value, i) => Math.abs(value - actual[i]!)));
}
