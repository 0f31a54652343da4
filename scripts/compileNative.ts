// Compiles the wasm module in src/backends/wasm/native to the hexadecimal text in src/backends/wasm/own/binary.ts, which is committed.
//
//     npm run build:native              writes it
//     npm run build:native -- --check   fails where what is committed is not what the source gives

import {execFileSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const COMPILER = join(ROOT, 'node_modules/assemblyscript/bin/asc.js');
const SOURCE = 'src/backends/wasm/native/index.ts';
const TARGET = new URL('../src/backends/wasm/own/binary.ts', import.meta.url);

/** `shrinkLevel 1` leaves loops as they are: unrolled they are no faster, and a fifth larger. */
const OPTIONS = [
  ...['--optimizeLevel', '3', '--shrinkLevel', '1'],
  ...['--noAssert', '--runtime', 'stub', '--importMemory'],
  ...['--enable', 'simd', '--enable', 'bulk-memory', '--disableWarning'],
];

/** The compiled module. */
function compile(): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'native-'));
  try {
    const out = join(folder, 'out.wasm');
    // From the root, so that the paths in what it prints are those of this repository.
    execFileSync(process.execPath, [COMPILER, SOURCE, ...OPTIONS, '--outFile', out], {cwd: ROOT, stdio: 'inherit'});
    return readFileSync(out);
  } finally {
    rmSync(folder, {recursive: true});
  }
}

const text = `/** The module in ../native, compiled, as hexadecimal digits, which compress better than base64. Written by \`npm run build:native\`. */
export const BINARY =
  '${compile().toString('hex')}';
`;
if (!process.argv.includes('--check')) {
  writeFileSync(TARGET, text);
} else if (readFileSync(TARGET, 'utf8') !== text) {
  console.error(
    'src/backends/wasm/own/binary.ts is not what its source gives. Run `npm run build:native` and commit it.',
  );
  process.exitCode = 1;
}
