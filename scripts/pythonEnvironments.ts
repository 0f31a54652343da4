// Python with the programs that checks compare with. Each environment is made once, where it is missing.

import {execFileSync, spawnSync} from 'node:child_process';
import {existsSync, mkdirSync} from 'node:fs';
import {join} from 'node:path';
import {CACHE} from './graphModels/cache';

const KERAS = [
  [
    ...['tensorflow-cpu==2.21.0', 'keras==3.12.0', 'tf_keras==2.21.0', 'tensorflow_hub==0.16.1', 'setuptools<81'],
    ...['onnx==1.23.2', 'onnxruntime==1.32.0'],
  ],
  ['--no-deps', 'tensorflowjs==4.22.0', 'tf2onnx==1.17.0'],
];

/** What writes language models as they are published: two exporters that need different versions of transformers. */
const BUILDER = [
  ...['torch==2.15.*', 'transformers==5.*', 'peft==0.21.2', 'onnxruntime-genai==0.18.0', 'onnxruntime==1.32.0'],
  ...['onnx==1.23.2', 'onnx-ir', 'onnxscript', 'sentencepiece', 'gguf'],
];
const OPTIMUM = ['torch==2.15.*', 'transformers==4.57.6', 'optimum-onnx==0.1.0', 'onnxruntime==1.32.0', 'onnx-ir'];

/**
 * Python with PyTorch, PEFT and ONNX: the environment of the benchmark's peers, or the one in TFJS_LORA_PEERS. Where a
 * package is missing, `bench/peers/setup` installs it.
 */
export function peersPython(): string {
  const python = join(process.env.TFJS_LORA_PEERS ?? 'bench/peers/.venv', 'bin/python');
  if (!canImport(python, 'peft', 'onnx', 'onnxruntime', 'onnxscript')) {
    execFileSync('bench/peers/setup', {stdio: 'inherit'});
  }
  return python;
}

/** Python with Keras 3 and 2, TensorFlow and tf2onnx: an environment in the cache, or the one in TFJS_LORA_KERAS. */
export function kerasPython(): string {
  const place = process.env.TFJS_LORA_KERAS ?? join(CACHE, 'keras');
  return environment(place, 'Keras and TensorFlow (2 GB)', ['tf_keras', 'tensorflowjs', 'tf2onnx'], KERAS);
}

/** Python with onnxruntime-genai's model builder, PyTorch and PEFT. */
export function builderPython(): string {
  return environment(
    join(CACHE, 'builder'),
    'the model builder (6 GB)',
    ['onnxruntime_genai', 'peft', 'gguf'],
    [BUILDER],
  );
}

/** Python with optimum. */
export function optimumPython(): string {
  return environment(join(CACHE, 'optimum'), 'optimum (6 GB)', ['optimum', 'onnx_ir'], [OPTIMUM]);
}

/** The Python of an environment, which pip fills in turns where a package is missing. */
function environment(folder: string, what: string, packages: string[], turns: readonly string[][]): string {
  const python = join(folder, 'bin/python');
  if (!canImport(python, ...packages)) {
    console.log(`Installing ${what} in ${folder}. This is done once.`);
    mkdirSync(CACHE, {recursive: true});
    if (!existsSync(python)) {
      execFileSync('python3', ['-m', 'venv', folder], {stdio: 'inherit'});
    }
    turns.forEach(names => execFileSync(python, ['-m', 'pip', 'install', '-q', ...names], {stdio: 'inherit'}));
  }
  return python;
}

/** Whether an environment has packages. They are not loaded, which would take seconds. */
function canImport(python: string, ...packages: string[]): boolean {
  const program = 'import sys, importlib.util as u; sys.exit(not all(map(u.find_spec, sys.argv[1:])))';
  return spawnSync(python, ['-c', program, ...packages], {stdio: 'ignore'}).status === 0;
}
