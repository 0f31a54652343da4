// Runs the specs of tfjs-core on the wasm backend, without this library and with it. Every spec that passes without it
// has to pass with it: `npm run check -- core-spec`.

import {spawn} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {execPath} from 'node:process';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import {build} from 'esbuild';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, '../../..');
const WASM = join(ROOT, 'node_modules/@tensorflow/tfjs-backend-wasm/dist/');
const PATIENCE = 10 * 60_000;

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

function passing(specs: ReadonlyMap<string, Spec>): string[] {
  return [...specs].filter(([, {status}]) => status === 'passed').map(([name]) => name);
}

const folder = mkdtempSync(join(tmpdir(), 'core-spec-'));
try {
  const file = join(folder, 'specs.cjs');
  await bundle(file);
  const [without, withLibrary] = await Promise.all([runSpecs(file, 'without'), runSpecs(file, 'with')]);
  const before = passing(without);
  const lost = before.filter(name => withLibrary.get(name)?.status !== 'passed');
  for (const name of lost) {
    console.error(`Lost: ${name}\n  ${withLibrary.get(name)?.reasons.join('\n  ') ?? 'it did not run'}`);
  }
  console.log(
    `tfjs-core on wasm: ${without.size} specs, ${before.length} pass without the library, ` +
      `${passing(withLibrary).length} with it, ${lost.length} lost.`,
  );
  if (before.length === 0 || lost.length > 0) {
    process.exitCode = 1;
  }
} finally {
  rmSync(folder, {recursive: true, force: true});
}
