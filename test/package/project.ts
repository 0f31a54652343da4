import {spawn, spawnSync} from 'node:child_process';
import {existsSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';

// Projects that have the library as it is published, and everything else as it is here.

const ROOT = process.cwd();

/** A new folder with the packed library and links to other packages; the caller removes it. */
export function makeProject(packages: readonly string[]): string {
  if (!existsSync(join(ROOT, 'dist/index.js'))) {
    throw new Error('There is no build to test. Run `npm run build` first; `npm test` does.');
  }
  const project = mkdtempSync(join(tmpdir(), 'tfjs-lora-project-'));
  const library = join(project, 'node_modules/tfjs-lora');
  mkdirSync(library, {recursive: true});
  const packed = spawnSync('npm', ['pack', '--ignore-scripts', '--pack-destination', project], {cwd: ROOT});
  const archive = readdirSync(project).find(name => name.endsWith('.tgz'));
  if (packed.status !== 0 || archive === undefined) {
    throw new Error(`The library could not be packed: ${String(packed.stderr)}`);
  }
  spawnSync('tar', ['-xzf', join(project, archive), '--strip-components=1', '-C', library]);
  for (const name of packages) {
    const place = join(project, 'node_modules', name);
    mkdirSync(dirname(place), {recursive: true});
    symlinkSync(join(ROOT, 'node_modules', name), place);
  }
  writeFileSync(join(project, 'package.json'), '{"private": true}');
  return project;
}

/** Runs Node in a project, and gives what it wrote and how it ended. */
export function runIn(project: string, args: readonly string[]): Promise<{code: number | null; output: string}> {
  return new Promise((resolve, reject) => {
    // What jest sets for its own modules would reach the process otherwise.
    const {NODE_OPTIONS: _, JEST_WORKER_ID: __, ...env} = process.env;
    const child = spawn(process.execPath, args, {cwd: project, env});
    let output = '';
    child.stdout.on('data', chunk => (output += String(chunk)));
    child.stderr.on('data', chunk => (output += String(chunk)));
    child.on('error', reject);
    child.on('close', code => resolve({code, output}));
  });
}
