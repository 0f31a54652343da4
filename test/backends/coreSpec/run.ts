// Runs the specs of tfjs-core on the wasm backend, with this library and without it. Every spec that passes without it
// has to pass with it: `npm run check -- core-spec [--quick | --write]`. A quick check runs the specs with the library
// alone, and takes those that fail without it from the file beside this one, which `--write` writes and every whole check
// compares with what fails.

import {spawn} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {argv, execPath} from 'node:process';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import {isDeepStrictEqual} from 'node:util';
import {build} from 'esbuild';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, '../../..');
const WASM = join(ROOT, 'node_modules/@tensorflow/tfjs-backend-wasm/dist/');
const PATIENCE = 10 * 60_000;
/** How many specs there are, and which of them do not pass on stock wasm. */
const ON_STOCK = join(HERE, 'onStock.json');

interface Spec {
  name: string;
  status: 'passed' | 'failed' | 'pending' | 'excluded';
  reasons: string[];
}

async function bundle(outfile: string): Promise<void> {
  await build({
    entryPoints: [join(HERE, 'specs.cjs')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    // As modules; the files for Node hold a copy of tfjs-core that its specs do not share.
    mainFields: ['module', 'main'],
    alias: {'tfjs-lora': join(ROOT, 'src/index.ts')},
    // tfjs-core does not count its specs among its side effects.
    ignoreAnnotations: true,
    logLevel: 'error',
  });
}

/** The specs by name, in a process of their own. The second of two specs of one name gets a number. */
function runSpecs(file: string, which: 'with' | 'without'): Promise<Map<string, Spec>> {
  return new Promise((resolve, reject) => {
    const child = spawn(execPath, [file, WASM, which], {stdio: ['ignore', 'pipe', 'ignore'], timeout: PATIENCE});
    const specs = new Map<string, Spec>();
    const count = new Map<string, number>();
    let isDone = false;
    createInterface({input: child.stdout})
      .on('line', line => {
        isDone ||= line === 'DONE';
        if (line.startsWith('SPEC ')) {
          const spec = JSON.parse(line.slice('SPEC '.length)) as Spec;
          const number = (count.get(spec.name) ?? 0) + 1;
          count.set(spec.name, number);
          specs.set(number === 1 ? spec.name : `${spec.name} (${number})`, spec);
        }
      })
      .on('close', () =>
        isDone ? resolve(specs) : reject(new Error(`The specs ${which} the library did not come to their end.`)),
      );
    child.on('error', reject);
  });
}

/** The specs that pass, or those that do not. */
function namesOf(specs: ReadonlyMap<string, Spec>, isPassing: boolean): string[] {
  return [...specs].filter(([, {status}]) => (status === 'passed') === isPassing).map(([name]) => name);
}

/** Whether every spec passes with the library, except those that fail without it. */
function losesNone(specs: ReadonlyMap<string, Spec>, failing: readonly string[]): boolean {
  const lost = namesOf(specs, false).filter(name => !failing.includes(name));
  for (const name of lost) {
    console.error(`Lost: ${name}\n  ${specs.get(name)?.reasons.join('\n  ')}`);
  }
  console.log(
    `tfjs-core on wasm: ${specs.size} specs, ${specs.size - failing.length} pass without the library, ` +
      `${namesOf(specs, true).length} with it, ${lost.length} lost.`,
  );
  return lost.length === 0;
}

const isQuick = argv.includes('--quick');
const folder = mkdtempSync(join(tmpdir(), 'core-spec-'));
try {
  const file = join(folder, 'specs.cjs');
  await bundle(file);
  const [withLibrary, without] = await Promise.all([
    runSpecs(file, 'with'),
    isQuick ? undefined : runSpecs(file, 'without'),
  ]);
  const onStock = without && {specs: without.size, failing: namesOf(without, false).sort()};
  if (onStock && argv.includes('--write')) {
    writeFileSync(ON_STOCK, `${JSON.stringify(onStock, null, 2)}\n`);
  }
  const recorded = JSON.parse(readFileSync(ON_STOCK, 'utf8')) as NonNullable<typeof onStock>;
  const isCurrent = withLibrary.size === recorded.specs && (!onStock || isDeepStrictEqual(onStock, recorded));
  if (!isCurrent) {
    console.error('The specs, or those that fail without the library, are not those of onStock.json. Write it anew.');
  }
  if (!losesNone(withLibrary, recorded.failing) || !isCurrent) {
    process.exitCode = 1;
  }
} finally {
  rmSync(folder, {recursive: true, force: true});
}
