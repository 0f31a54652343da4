// Runs the encoder and the decoder of a Whisper in ONNX Runtime, first some tokens and then the others with the cache:
// adapters beside files of optimum, compared with PEFT, and new files, compared with the model. Whisper tiny
// transcribes in transformers.js what it transcribes here. Part of `npm run check -- lastmile`.

import {execFileSync} from 'node:child_process';
import {mkdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {Tokenizer} from '@huggingface/tokenizers';
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
import {wordTokenizer} from '../transformers/fixtures';
import {TransformersJs} from './transformersJs';

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

/** Transcripts of clips by each of the options, in transformers.js. */
const TRANSCRIPTS = `
import {env, pipeline} from '@huggingface/transformers';
import {begin} from './begin.mjs';

export async function run({name, clips, options, device, ...place}) {
  begin(env, place);
  const transcribe = await pipeline('automatic-speech-recognition', name, {device});
  const transcripts = [];
  for (const clip of clips) {
    for (const {timestamps, ...settings} of options) {
      const {text, chunks = []} = await transcribe(Float32Array.from(clip), {...settings, return_timestamps: timestamps});
      transcripts.push({text, chunks});
    }
  }
  await transcribe.dispose();
  return transcripts;
}
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
 * @param inPages whether transformers.js transcribes in Chromium too.
 * @returns how many checks failed.
 */
export async function checkSpeech(model: string, exported: string, inPages: boolean): Promise<number> {
  install(['@huggingface/transformers@4.3.2', 'onnxruntime-node@1.30.0']);
  let failed = 0;
  const report = (name: string, isRight: boolean, measured: string) => {
    failed += isRight ? 0 : 1;
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
    ['8 bits', blocks, '_quantized'],
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
  await checkTranscripts(model, join(model, 'transcripts'), inPages, report);
  return failed;
}

const SENTENCES = [
  'Please close the window before you leave.',
  'The museum is closed on Mondays. He forgot to send the letter. Turn left at the next corner.',
];

interface Transcript {
  text: string;
  chunks: {timestamp: [number, number]; text: string}[];
}

/** What comes before a transcript of a model for several languages, after the words. */
const SPECIAL = [
  ...['<|endoftext|>', '<|startoftranscript|>', '<|en|>', '<|de|>', '<|translate|>', '<|transcribe|>'],
  '<|notimestamps|>',
];
const WORDS = 200;
const tokenOf = (special: string) => WORDS + SPECIAL.indexOf(special);

/** A tiny Whisper for two languages, whose words are random. */
function multilingual(folder: string, vocabulary: number) {
  const read = (name: string) => new Uint8Array(readFileSync(join(folder, name)));
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as object;
  const tokens = {eos_token_id: tokenOf('<|endoftext|>'), decoder_start_token_id: tokenOf('<|startoftranscript|>')};
  const times = Array.from({length: vocabulary - WORDS - SPECIAL.length}, (_, i) => `<|${(i / 50).toFixed(2)}|>`);
  const special = [...SPECIAL, ...times];
  const words = [...Array.from({length: WORDS}, (_, i) => `w${i}`), ...special];
  const tokenizerJson = {
    ...wordTokenizer(words),
    added_tokens: special.map((content, i) => ({id: WORDS + i, content, special: i < SPECIAL.length})),
  };
  return {
    config: JSON.stringify({...config, ...tokens}),
    weights: read('model.safetensors'),
    preprocessor: JSON.parse(readFileSync(join(folder, 'preprocessor_config.json'), 'utf8')) as Record<string, unknown>,
    generation: {
      ...tokens,
      lang_to_id: {'<|en|>': tokenOf('<|en|>'), '<|de|>': tokenOf('<|de|>')},
      task_to_id: {translate: tokenOf('<|translate|>'), transcribe: tokenOf('<|transcribe|>')},
      no_timestamps_token_id: tokenOf('<|notimestamps|>'),
      // All but words, and the end of a text.
      suppress_tokens: special.flatMap((_, i) => (i === 0 ? [] : [WORDS + i])),
      begin_suppress_tokens: [tokenOf('<|endoftext|>')],
    },
    ...{Tokenizer, tokenizerJson, tokenizerConfig: {tokenizer_class: 'WhisperTokenizer', unk_token: 'w0'}},
  };
}

/** Transcripts in transformers.js, with and without times: of Whisper tiny, and of a model for two languages. */
async function checkTranscripts(
  tiny: string,
  root: string,
  inPages: boolean,
  report: (name: string, isRight: boolean, measured: string) => void,
): Promise<void> {
  await tf.setBackend('wasm');
  mkdirSync(root, {recursive: true});
  const sounds = SENTENCES.map(sentence => {
    const file = join(root, 'spoken.wav');
    execFileSync('espeak-ng', ['-v', 'en-us', '-s', '140', '-w', file, sentence]);
    return new Uint8Array(readFileSync(file));
  });
  const clips: number[][] = [];
  for (const sound of sounds) {
    clips.push(Array.from(resample(await readSound(sound), 16_000).samples));
  }
  const languages = ['en', 'de'].flatMap(language => [{language}, {language, task: 'translate'} as const]);
  const runtime = new TransformersJs(root, TRANSCRIPTS);
  try {
    for (const [name, load, settings] of [
      ['whisper-tiny', () => loadTransformer(whisperTiny()), [{}]],
      ['two-languages', () => loadTransformer(multilingual(tiny, 256)), languages],
    ] as const) {
      // transformers.js decodes no segment without words, which random weights make.
      const timed = name === 'whisper-tiny' ? [{timestamps: true}] : [];
      const options = [...settings, ...timed];
      const {model, tokenizer} = await load();
      write(join(root, name), await toONNX(model, {folder: true, tokenizer}));
      const expected: Transcript[] = [];
      for (const sound of sounds) {
        const {features} = await encodeSounds(model, sound);
        for (const option of options) {
          const transcript: Transcript = {text: '', chunks: []};
          for await (const {text, start, end = 0} of transcribe(model, tokenizer, features, option)) {
            transcript.text += text;
            transcript.chunks.push(
              ...(start === undefined ? [] : [{timestamp: [start, end] as [number, number], text}]),
            );
          }
          expected.push(transcript);
        }
        features.dispose();
      }
      disposeModel(model);
      const job = {name, clips, options};
      const places = {
        Node: () => Promise.resolve(runtime.inNode<Transcript[]>(job)),
        ...(inPages && {'Chromium on WASM': () => runtime.inPage<Transcript[]>('wasm', job)}),
      };
      for (const [place, run] of Object.entries(places)) {
        const transcripts = await run();
        expected.forEach((transcript, i) => {
          const isEqual = JSON.stringify(transcripts[i]) === JSON.stringify(transcript);
          const {text, chunks} = transcript;
          const option = JSON.stringify(options[i % options.length]);
          const measured = `${text.slice(0, 60)} (${chunks.length} segments)`;
          report(`${name} in ${place}, ${option}`, isEqual, isEqual ? measured : JSON.stringify(transcripts[i]));
        });
      }
    }
  } finally {
    await runtime.close();
  }
}
