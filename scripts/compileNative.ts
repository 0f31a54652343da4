// Compiles our wasm modules, AssemblyScript in folders named `assembly`, to text in files that are committed.
//
//     npm run build:native              writes it
//     npm run build:native -- --check   fails where what is committed is not what the source gives

import {execFileSync} from 'node:child_process';
import {existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join, relative} from 'node:path';
import {fileURLToPath} from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const COMPILER = join(ROOT, 'node_modules/assemblyscript/bin/asc.js');

/** Where the source of each module lies, what its file calls it, and the file. */
const MODULES = [
  {source: 'src/backends/wasm/assembly', name: 'BINARY', target: 'src/backends/wasm/module/binary.ts'},
  {
    source: 'src/extensions/quantized/kernels/wasm/assembly',
    name: 'QUANTIZED_BINARY',
    target: 'src/extensions/quantized/kernels/wasm/binary.ts',
  },
  {
    source: 'src/extensions/transformers/kernels/wasm/assembly',
    name: 'TRANSFORMER_BINARY',
    target: 'src/extensions/transformers/kernels/wasm/binary.ts',
  },
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

/** A module as text, which `module.ts` reads: the byte `90·q + r` is `q` tildes and the character `35 + r`. */
function asText(module: Buffer): string {
  return [...module].map(byte => '~'.repeat(byte / 90) + String.fromCharCode(35 + (byte % 90))).join('');
}

for (const {source, name, target} of MODULES) {
  const text = `// The module in ${relative(dirname(target), source)}, compiled. Written by \`npm run build:native\`.

/** In an alphabet that compresses better than hexadecimal digits and base64. */
export const ${name} =
  ${JSON.stringify(asText(compile(`${source}/index.ts`)))};
`;
  const file = join(ROOT, target);
  if (!process.argv.includes('--check')) {
    writeFileSync(file, text);
  } else if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
    console.error(`${target} is not what its source gives. Run \`npm run build:native\` and commit it.`);
    process.exitCode = 1;
  }
}
