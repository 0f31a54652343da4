// Compiles programs that use the packed library, with several versions of TypeScript and ways to resolve modules,
// without `skipLibCheck`: `npm run check -- types`. Errors in tfjs's own declarations do not count; there are some.
//
// The compilers are installed once, in a folder for temporary files.

import {spawnSync} from 'node:child_process';
import {cpSync, existsSync, mkdirSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {makeProject} from '../project';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, '../../..');
const CACHE = join(tmpdir(), 'tfjs-lora-typescript');
const VERSIONS = ['5.0.4', '5.4.5', '5.6.3', '5.7.3', '5.9.3', '6.0.3'];

/** How modules are resolved, and which programs can be written that way. */
const WAYS = [
  {module: 'esnext', moduleResolution: 'bundler', programs: ['browser.ts', 'node.ts']},
  {module: 'node16', moduleResolution: 'node16', programs: ['browser.ts', 'node.ts', 'required.cts']},
  {
    module: 'nodenext',
    moduleResolution: 'nodenext',
    programs: ['browser.ts', 'node.ts', 'exact.ts', 'required.cts'],
    exactOptionalPropertyTypes: true,
  },
  // The old way, which reads `typesVersions`. TypeScript 6 has it no longer.
  {module: 'commonjs', moduleResolution: 'node10', programs: ['browser.ts', 'node.ts']},
] as const;

function run(command: string, args: string[], cwd: string): {status: number | null; stdout: string} {
  const {status, stdout, stderr, error} = spawnSync(command, args, {cwd, encoding: 'utf8'});
  if (status === null) {
    throw error ?? new Error(stderr);
  }
  return {status, stdout};
}

function compilerOf(version: string): string {
  const folder = join(CACHE, version);
  const compiler = join(folder, 'node_modules/typescript/bin/tsc');
  if (!existsSync(compiler)) {
    mkdirSync(folder, {recursive: true});
    writeFileSync(join(folder, 'package.json'), '{"private": true}');
    const args = ['install', '--no-audit', '--no-fund', '--ignore-scripts', `typescript@${version}`];
    if (run('npm', args, folder).status !== 0) {
      throw new Error(`TypeScript ${version} could not be installed.`);
    }
  }
  return compiler;
}

/** Scopes whose declarations those of tfjs need. */
const SCOPES = ['@tensorflow', '@types', '@webgpu'].filter(scope => existsSync(join(ROOT, 'node_modules', scope)));

const project = makeProject(SCOPES);
cpSync(join(HERE, 'consumer'), project, {recursive: true});
writeFileSync(join(project, 'package.json'), '{"private": true, "type": "module"}');
let failed = 0;
try {
  for (const version of VERSIONS) {
    const compiler = compilerOf(version);
    for (const {programs, ...resolution} of WAYS) {
      if (resolution.moduleResolution === 'node10' && Number.parseInt(version) > 5) {
        continue;
      }
      const compilerOptions = {
        ...resolution,
        target: 'es2022',
        lib: ['es2022', 'dom'],
        types: [],
        strict: true,
        noEmit: true,
        skipLibCheck: false,
      };
      // `using` is syntax of TypeScript 5.2, and its types are a library of their own; all else does without it.
      const disposes = resolution.moduleResolution === 'bundler' && version > '5.2';
      const files = [...programs, ...(disposes ? ['using.ts'] : [])];
      compilerOptions.lib.push(...(disposes ? ['esnext.disposable'] : []));
      writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({compilerOptions, files}));
      const {stdout} = run(process.execPath, [compiler, '--pretty', 'false'], project);
      const errors = stdout.split('\n').filter(line => line.includes('error TS'));
      // TypeScript 6 reports at its own library what that of tfjs's @webgpu/types declares once more.
      const ours = errors.filter(line => !line.includes('node_modules/') || line.includes('node_modules/tfjs-lora/'));
      console.log(
        `TypeScript ${version}, ${resolution.moduleResolution}: ${ours.length} errors, ` +
          `${errors.length - ours.length} in tfjs`,
      );
      ours.forEach(line => console.error(`  ${line}`));
      failed += ours.length;
    }
  }
} finally {
  rmSync(project, {recursive: true, force: true});
}
if (failed > 0) {
  process.exitCode = 1;
}
