// Runs the encoder and the decoder of a Whisper in ONNX Runtime, first some tokens and then the others with the cache:
// adapters beside files of optimum, compared with PEFT, and new files, compared with the model. Whisper tiny
// transcribes in transformers.js what it transcribes here. Part of `npm run check -- lastmile`.

import {execFileSync} from 'node:child_process';
import {mkdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {CACHE, install} from '../../../scripts/graphModels/cache';
import {whisperTiny} from '../../../scripts/whisper';
import {applyLoRA} from '../../../src/index';
import {disposeModel} from '../../../src/node';
import {adaptONNX, type AdapterInput, toONNX} from '../../../src/onnx';
import {quantizeBase} from '../../../src/quantized';
import {encodeSounds, readSound, transcribe} from '../../../src/sound';
import {loadTransformer} from '../../../src/transformers';
import {resample} from '../../../src/extensions/sound/resample';
import {stirFactors} from '../../models';

const LIMIT = 1e-5;

/** What PEFT computes for a clip and some tokens, without and with each adapter. */
interface Expected extends Record<'base' | 'qv' | 'all', number[]> {
  ids: number[];
  bins: number;
  features: number[];
}

/** The files of a Whisper in ONNX Runtime, with inputs for an adapter in each of them. */
interface SpeechFiles {
  encoder: string;
  decoder: string;
  factors?: Record<'encoder' | 'decoder', Record<string, AdapterInput>>;
}

const LOGITS = `
import {readFileSync} from 'node:fs';
import ort from 'onnxruntime-node';
const {encoder, decoder, factors, ids, bins, features} = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const open = file => ort.InferenceSession.create(file, {logSeverityLevel: 3});
const [first, second] = [await open(encoder), await open(decoder)];
const tensorsOf = inputs => Object.fromEntries(Object.entries(inputs ?? {}).map(([name, {data, type, dims}]) => {
  return [name, new ort.Tensor(type, Float32Array.from(Object.values(data)), dims)];
}));
const sound = new ort.Tensor('float32', Float32Array.from(features), [1, bins, features.length / bins]);
const {last_hidden_state} = await first.run({input_features: sound, ...tensorsOf(factors?.encoder)});
let cache = {};
for (const {name, shape} of second.inputMetadata) {
  if (name.startsWith('past')) {
    cache[name] = new ort.Tensor('float32', new Float32Array(0), [1, shape[1], 0, shape[3]]);
  }
}
const logits = [];
for (const [from, to] of [[0, 3], [3, 4], [4, ids.length]]) {
  const tokens = ids.slice(from, to);
  const results = await second.run({
    input_ids: new ort.Tensor('int64', BigInt64Array.from(tokens, BigInt), [1, tokens.length]),
    encoder_hidden_states: last_hidden_state,
    ...(second.inputNames.includes('use_cache_branch') && {
      use_cache_branch: new ort.Tensor('bool', [from > 0], [1]),
    }),
    ...cache,
    ...tensorsOf(factors?.decoder),
  });
  logits.push(...results.logits.data);
  // As in transformers.js, the keys and values of what was heard are those of the first pass.
  cache = Object.fromEntries(Object.entries(cache).map(([name, value]) => {
    return [name, from > 0 && name.includes('encoder') ? value : results[name.replace('past_key_values', 'present')]];
  }));
}
console.log('RESULT' + JSON.stringify(logits));
`;

const TRANSCRIPTS = `
import {readFileSync} from 'node:fs';
import {env, pipeline} from '@huggingface/transformers';
const {root, clips} = JSON.parse(readFileSync(process.argv[2], 'utf8'));
Object.assign(env, {allowRemoteModels: false, allowLocalModels: true, localModelPath: root});
const transcribe = await pipeline('automatic-speech-recognition', 'whisper-tiny');
const transcripts = [];
for (const clip of clips) {
  const samples = Float32Array.from(clip);
  const {text} = await transcribe(samples);
  const {chunks} = await transcribe(samples, {return_timestamps: true});
  transcripts.push({text, chunks});
}
console.log('RESULT' + JSON.stringify(transcripts));
`;

function inNode(program: string, job: object): unknown {
  const [script, file] = [join(CACHE, 'speech.mjs'), join(CACHE, 'speech.json')];
  try {
    writeFileSync(script, program);
    writeFileSync(file, JSON.stringify(job));
    const printed = execFileSync('node', [script, file], {encoding: 'utf8', maxBuffer: 2 ** 28, stdio: 'pipe'});
    return JSON.parse(printed.split('RESULT')[1]!) as unknown;
  } finally {
    [script, file].forEach(path => rmSync(path, {force: true}));
  }
}

function write(folder: string, files: Record<string, string | Uint8Array>): void {
  for (const [path, content] of Object.entries(files)) {
    const file = join(folder, path);
    mkdirSync(dirname(file), {recursive: true});
    writeFileSync(file, content);
  }
}

/** Writes the files of optimum with an adapter beside their products. */
async function adapted(exported: string, adapter: string): Promise<SpeechFiles> {
  const source = {
    config: readFileSync(join(adapter, 'adapter_config.json'), 'utf8'),
    weights: readFileSync(join(adapter, 'adapter_model.safetensors')),
  };
  const beside = async (name: string, prefix: string) => {
    const {file, inputs} = await adaptONNX(readFileSync(join(exported, `${name}.onnx`)), source, {prefix});
    const path = join(adapter, `${name}.onnx`);
    writeFileSync(path, file);
    return {path, inputs};
  };
  const encoder = await beside('encoder_model', 'model.encoder');
  const decoder = await beside('decoder_model_merged', 'model.decoder');
  const factors = {encoder: encoder.inputs, decoder: decoder.inputs};
  return {encoder: encoder.path, decoder: decoder.path, factors};
}

/** Zeros of rank 1 for each factor. */
function off(inputs: Record<string, AdapterInput>): Record<string, AdapterInput> {
  const zeros = ([name, {type, dims}]: [string, AdapterInput]): [string, AdapterInput] => {
    const size: [number, number] = name.endsWith('A') ? [dims[0], 1] : [1, dims[1]];
    return [name, {type, dims: size, data: new Float32Array(size[0] * size[1])}];
  };
  return Object.fromEntries(Object.entries(inputs).map(zeros));
}

/**
 * @param model the folder of the tiny Whisper, with adapters in it.
 * @param exported that of the files that optimum wrote of it.
 * @returns whether all agree.
 */
export async function checkSpeech(model: string, exported: string): Promise<boolean> {
  install(['@huggingface/transformers@4.3.2', 'onnxruntime-node@1.30.0']);
  let agrees = true;
  const report = (name: string, isRight: boolean, measured: string) => {
    agrees &&= isRight;
    console.log(`${isRight ? 'ok    ' : 'FAILED'} ${name}: ${measured}`);
  };
  const {ids, bins, features, ...expected} = JSON.parse(readFileSync(join(model, 'expected.json'), 'utf8')) as Expected;
  const logitsOf = (files: SpeechFiles) => inNode(LOGITS, {...files, ids, bins, features}) as number[];
  const compare = (name: string, actual: readonly number[], wanted: ArrayLike<number>) => {
    const largest = Math.max(...Array.from(wanted, Math.abs));
    const distance = Math.max(...actual.map((value, i) => Math.abs(value - wanted[i]!))) / largest;
    report(name, distance <= LIMIT && actual.length === wanted.length, distance.toExponential(1));
  };

  const published = {
    encoder: join(exported, 'encoder_model.onnx'),
    decoder: join(exported, 'decoder_model_merged.onnx'),
  };
  const before = logitsOf(published);
  compare('whisper of optimum', before, expected.base);
  for (const kind of ['qv', 'all'] as const) {
    const files = await adapted(exported, join(model, kind));
    compare(`whisper of optimum, ${kind}`, logitsOf(files), expected[kind]);
    const {encoder, decoder} = files.factors!;
    const zeros = logitsOf({...files, factors: {encoder: off(encoder), decoder: off(decoder)}});
    const changed = zeros.filter((value, i) => value !== before[i]).length;
    report(`whisper of optimum, ${kind} off`, changed === 0, `${changed} logits with other bits`);
  }

  await tf.setBackend('cpu');
  const {model: base} = await loadTransformer(model, {tokenizer: false});
  const tuned = applyLoRA(base, {rank: 2, seed: 1});
  stirFactors(tuned);
  const blocks = await quantizeBase(base, {bits: 8});
  const sound = tf.transpose(tf.tensor3d(features, [1, bins, features.length / bins]), [0, 2, 1]);
  for (const [name, written, type] of [
    ['float32', base, ''],
    ['an adapter merged', tuned, ''],
    ['8 bits', blocks, '_q4'],
  ] as const) {
    const folder = join(model, 'new');
    write(folder, await toONNX(written, {folder: true}));
    const file = (part: string) => join(folder, 'onnx', `${part}${type}.onnx`);
    const logits = logitsOf({encoder: file('encoder_model'), decoder: file('decoder_model_merged')});
    const ours = tf.tidy(() => {
      const tokens = tf.tensor2d([ids], undefined, 'int32');
      return (written.predict([sound, tokens]) as tf.Tensor).dataSync();
    });
    compare(`whisper, ${name}`, logits, ours);
  }
  sound.dispose();
  [tuned, blocks, base].forEach(disposeModel);
  await checkTranscripts(join(model, 'transcripts'), report);
  return agrees;
}

const SENTENCES = [
  'Please close the window before you leave.',
  'The museum is closed on Mondays. He forgot to send the letter. Turn left at the next corner.',
];

/** Transcripts in transformers.js, with and without times. */
async function checkTranscripts(
  root: string,
  report: (name: string, isRight: boolean, measured: string) => void,
): Promise<void> {
  await tf.setBackend('wasm');
  const {model, tokenizer} = await loadTransformer(whisperTiny());
  write(join(root, 'whisper-tiny'), await toONNX(model, {folder: true, tokenizer}));
  const clips: number[][] = [];
  const wanted: {text: string; chunks: {timestamp: [number, number]; text: string}[]}[] = [];
  for (const sentence of SENTENCES) {
    const file = join(root, 'spoken.wav');
    execFileSync('espeak-ng', ['-v', 'en-us', '-s', '140', '-w', file, sentence]);
    const bytes = new Uint8Array(readFileSync(file));
    clips.push(Array.from(resample(await readSound(bytes), 16_000).samples));
    const {features} = await encodeSounds(model, bytes);
    const transcript: (typeof wanted)[number] = {text: '', chunks: []};
    for await (const {text} of transcribe(model, tokenizer, features)) {
      transcript.text += text;
    }
    for await (const {text, start = 0, end = 0} of transcribe(model, tokenizer, features, {timestamps: true})) {
      transcript.chunks.push({timestamp: [start, end], text});
    }
    wanted.push(transcript);
    features.dispose();
  }
  disposeModel(model);
  const transcripts = inNode(TRANSCRIPTS, {root, clips}) as typeof wanted;
  wanted.forEach(({text, chunks}, i) => {
    const isEqual = JSON.stringify(transcripts[i]) === JSON.stringify({text, chunks});
    report('whisper tiny in transformers.js', isEqual, `${text} (${chunks.length} segments)`);
  });
}
