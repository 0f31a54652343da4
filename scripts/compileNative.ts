// Compiles the wasm modules in src/backends/wasm/native to the hexadecimal text in files of src/backends/wasm/own, which are committed.
//
//     npm run build:native              writes it
//     npm run build:native -- --check   fails where what is committed is not what the source gives

import {execFileSync} from 'node:child_process';
import {existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const COMPILER = join(ROOT, 'node_modules/assemblyscript/bin/asc.js');

/** Where the source of each module lies, what its file calls it, and the file. The second is for transformers alone. */
const MODULES = [
  {source: 'native', name: 'BINARY', target: 'own/binary.ts'},
  {source: 'native/transformer', name: 'TRANSFORMER_BINARY', target: 'own/transformer/binary.ts'},
] as const;

/** `shrinkLevel 1` leaves loops as they are: unrolled they are no faster, and a fifth larger. */
const OPTIONS = [
  ...['--optimizeLevel', '3', '--shrinkLevel', '1'],
  ...['--noAssert', '--runtime', 'stub', '--importMemory'],
  ...['--enable', 'simd', '--enable', 'bulk-memory', '--disableWarning'],
];

/** A compiled module. */
function compile(source: string): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'native-'));
  try {
    const out = join(folder, 'out.wasm');
    // From the root, so that the paths in what it prints are those of this repository.
    execFileSync(process.execPath, [COMPILER, source, ...OPTIONS, '--outFile', out], {cwd: ROOT, stdio: 'inherit'});
    return readFileSync(out);
  } finally {
    rmSync(folder, {recursive: true});
  }
}

for (const {source, name, target} of MODULES) {
  const folder = 'src/backends/wasm';
  const depth = '../'.repeat(target.split('/').length - 1);
  const text = `/** The module in ${depth}${source}, compiled, as hexadecimal digits, which compress better than base64. Written by \`npm run build:native\`. */
export const ${name} =
  '${compile(`${folder}/${source}/index.ts`).toString('hex')}';
`;
  const file = join(ROOT, folder, target);
  if (!process.argv.includes('--check')) {
    writeFileSync(file, text);
  } else if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
    console.error(`${folder}/${target} is not what its source gives. Run \`npm run build:native\` and commit it.`);
    process.exitCode = 1;
  }
}
