// Brings @tensorflow/tfjs-node to the node_modules of this checkout, for the suites that run on it:
// `npm run setup -- tfjs-node`.
//
// The package downloads the TensorFlow C library when it is installed. Where that fails, the library is taken from
// PyPI's wheel of TensorFlow and the package's addon is compiled against it. package.json and its lock stay as they
// are.

import {spawnSync} from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

const VERSION = '4.22.0';
/** Of the package's archive, as in a lock file. */
const INTEGRITY = 'sha512-uHrXeUlfgkMxTZqHkESSV7zSdKdV0LlsBeblqkuKU9nnfxB1pC6DtoyYVaLxznzZy7WQSegjcohxxCjAf6Dc7w==';
const WHEEL = 'tensorflow-cpu==2.21.0';
/** Of the wheel for Linux on x86-64 and Python 3.11; pip refuses any other file. */
const WHEEL_HASH = 'sha256:2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c';
/** The version of the library that this version of the package asks for, by which it names the files. */
const LIBRARY_VERSION = '2.9.1';
/** N-API: the version to compile for, and the one that names the folder in which the package looks for its addon. */
const NAPI = {compiled: 9, folder: 'napi-v8'};

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const PACKAGE = join(ROOT, 'node_modules/@tensorflow/tfjs-node');
const PREFIX = join(dirname(process.execPath), '..');

/** A product on the backend, in a process of its own, with the tensors of the one tfjs that everything else uses. */
const TRIAL = `
  const tf = require('@tensorflow/tfjs-node');
  const {engine} = require('@tensorflow/tfjs');
  const product = tf.matMul([[1, 2]], [[3], [4]]).dataSync()[0];
  if (tf.getBackend() !== 'tensorflow' || product !== 11) throw new Error('it computes 1·3 + 2·4 = ' + product);
  if (engine() !== tf.engine()) throw new Error('it brought a second copy of tfjs: npm ci removes it');
`;

/** Takes what is needed of a wheel, an archive of some 10,000 files. */
const UNPACK = `
import shutil, sys, zipfile, os
wheel, target = sys.argv[1:]
libraries = ('tensorflow/libtensorflow_cc.so.2', 'tensorflow/libtensorflow_framework.so.2')
with zipfile.ZipFile(wheel) as archive:
    for entry in archive.infolist():
        if entry.is_dir():
            continue
        if entry.filename.startswith('tensorflow/include/'):
            path = os.path.join(target, 'include', entry.filename[len('tensorflow/include/'):])
        elif entry.filename in libraries:
            path = os.path.join(target, 'lib', os.path.basename(entry.filename))
        else:
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with archive.open(entry) as source, open(path, 'wb') as file:
            shutil.copyfileobj(source, file, 1 << 20)
`;

/** What ends the script, with what to do about it. */
class SetupError extends Error {}

interface Outcome {
  succeeded: boolean;
  /** The end of what it printed. */
  tail: string;
}

function run(command: string, args: string[], cwd = ROOT): Outcome {
  const {status, stdout, stderr, error} = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: {...process.env, TF_CPP_MIN_LOG_LEVEL: '2'},
  });
  const lines = `${stdout}\n${stderr}\n${error?.message ?? ''}`.split('\n').filter(line => line.trim() !== '');
  return {succeeded: status === 0, tail: lines.slice(-8).join('\n')};
}

function mustRun(what: string, command: string, args: string[], cwd?: string): void {
  const {succeeded, tail} = run(command, args, cwd);
  if (!succeeded) {
    throw new SetupError(`${what} failed:\n${tail}`);
  }
}

function say(text: string): void {
  console.log(`tfjs-node: ${text}`);
}

function works(): Outcome {
  return run(process.execPath, ['-e', TRIAL]);
}

function firstThatRuns(commands: string[], args: string[]): string | undefined {
  return commands.find(command => run(command, args).succeeded);
}

interface Tools {
  python: string;
  nodeGyp: string;
}

/** What compiling takes. */
function findTools(): Tools {
  const missing: string[] = [];
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    missing.push(`Linux on x86-64, for which the wheel is; this is ${process.platform} on ${process.arch}`);
  }
  for (const [program, ...names] of [['g++', 'c++'], ['make']] as [string, ...string[]][]) {
    if (firstThatRuns([program, ...names], ['--version']) === undefined) {
      missing.push(`${program} (Debian: apt-get install ${program})`);
    }
  }
  const python = firstThatRuns(['python3', 'python'], ['-m', 'pip', '--version']);
  if (python === undefined) {
    missing.push('Python with pip (Debian: apt-get install python3-pip)');
  }
  // npm says where its own is to the scripts that it runs.
  const npmRoot = spawnSync('npm', ['root', '-g'], {encoding: 'utf8'}).stdout.trim();
  const nodeGyp = process.env.npm_config_node_gyp ?? join(npmRoot, 'npm/node_modules/node-gyp/bin/node-gyp.js');
  if (!existsSync(nodeGyp)) {
    missing.push('node-gyp, which comes with npm: run this as `npm run setup -- tfjs-node`');
  }
  if (python === undefined || missing.length > 0) {
    throw new SetupError(
      "the package's own download failed, and to compile it this is " +
        `missing:\n${missing.map(line => `  ${line}`).join('\n')}`,
    );
  }
  return {python, nodeGyp};
}

/** The C library and its headers, where the package looks for them. */
function fetchLibrary({python}: Tools): void {
  const folder = mkdtempSync(join(tmpdir(), 'tfjs-node-'));
  try {
    say(`fetching ${WHEEL} from PyPI (270 MB) …`);
    const platform = ['--platform', 'manylinux_2_27_x86_64', '--python-version', '3.11'];
    const args = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:', ...platform, '-d', folder];
    const requirements = join(folder, 'requirements.txt');
    writeFileSync(requirements, `${WHEEL} --hash=${WHEEL_HASH}\n`);
    mustRun('pip download', python, [...args, '--require-hashes', '-r', requirements]);
    const wheel = readdirSync(folder).find(name => name.endsWith('.whl'));
    if (wheel === undefined) {
      throw new SetupError('pip download left no wheel.');
    }
    say('unpacking the library (850 MB) …');
    const deps = join(PACKAGE, 'deps');
    rmSync(deps, {recursive: true, force: true});
    mkdirSync(deps);
    mustRun('unpacking the wheel', python, ['-c', UNPACK, join(folder, wheel), deps]);
    for (const [name, target] of [
      ['libtensorflow.so', 'libtensorflow_cc.so.2'],
      ['libtensorflow_framework.so', 'libtensorflow_framework.so.2'],
    ] as const) {
      symlinkSync(target, join(deps, 'lib', name));
      symlinkSync(target, join(deps, 'lib', `${name}.${LIBRARY_VERSION}`));
    }
  } finally {
    rmSync(folder, {recursive: true, force: true});
  }
}

function compileAddon({nodeGyp}: Tools): void {
  say('compiling the addon …');
  const folder = join(PACKAGE, 'lib', NAPI.folder);
  // Without the headers beside node, node-gyp fetches them.
  const headers = existsSync(join(PREFIX, 'include/node/node_api.h')) ? [`--nodedir=${PREFIX}`] : [];
  const napi = [
    `--napi_version=${NAPI.compiled}`,
    `--napi_build_version=${NAPI.folder.replace('napi-v', '')}`,
    '--node_abi_napi=napi',
    `--node_napi_label=${NAPI.folder}`,
  ];
  const module = [
    `--module=${join(folder, 'tfjs_binding.node')}`,
    '--module_name=tfjs_binding',
    `--module_path=${folder}`,
  ];
  mustRun('node-gyp', process.execPath, [nodeGyp, 'rebuild', ...headers, ...module, ...napi], PACKAGE);
}

/**
 * Refuses a package that is not the one that was tried, before any script of it runs. npm has checked the archive
 * against this value.
 */
function refuseOtherPackage(): void {
  const lock = JSON.parse(readFileSync(join(ROOT, 'node_modules/.package-lock.json'), 'utf8')) as {
    packages: Record<string, {integrity?: string} | undefined>;
  };
  const integrity = lock.packages['node_modules/@tensorflow/tfjs-node']?.integrity;
  if (integrity !== INTEGRITY) {
    rmSync(PACKAGE, {recursive: true, force: true});
    throw new SetupError(
      `the package has the integrity ${integrity ?? 'undefined'}, expected ${INTEGRITY}. It was removed.`,
    );
  }
}

function setUp(): void {
  if (works().succeeded) {
    say(`${VERSION} is there and works, nothing to do.`);
    return;
  }
  say(`installing the package, ${VERSION} …`);
  mustRun('npm install', 'npm', [
    'install',
    '--no-save',
    // Nothing is saved, but npm leaves out what it takes for an optional peer.
    '--save-dev',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    `@tensorflow/tfjs-node@${VERSION}`,
  ]);
  refuseOtherPackage();
  say("trying the package's own download …");
  const own = run('npm', ['rebuild', '@tensorflow/tfjs-node']);
  if (!own.succeeded || !works().succeeded) {
    say('that is not available here; building against the library in the wheel of TensorFlow instead.');
    const tools = findTools();
    fetchLibrary(tools);
    compileAddon(tools);
  }
  const {succeeded, tail} = works();
  if (!succeeded) {
    throw new SetupError(`it is installed and does not work:\n${tail}`);
  }
  say(`${VERSION} works.`);
}

try {
  setUp();
} catch (error) {
  if (!(error instanceof SetupError)) {
    throw error;
  }
  console.error(`tfjs-node: ${error.message}`);
  process.exitCode = 1;
}
