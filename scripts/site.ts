// Builds the documentation as a site, in site/.vitepress/dist: `npm run docs`. With `-- --serve` it serves the pages as
// they are written, and builds them anew when they change.

import {spawnSync} from 'node:child_process';
import {cpSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {ENTRIES, withImportNames} from './entries';
import {llmsFiles} from './llms';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
/** Files of the tests that the code of pages reads when it runs in a tab. */
const FIXTURES = ['gguf/llama.gguf', 'onnx', 'transcripts', 'transformers'];

function run(program: string, ...args: string[]): void {
  const {status} = spawnSync(process.execPath, [join(ROOT, 'node_modules', program), ...args], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  if (status !== 0) {
    throw new Error(`${program} failed.`);
  }
}

rmSync(join(ROOT, 'docs/api'), {recursive: true, force: true});
run('typedoc/bin/typedoc');
for (const folder of ['.', ...ENTRIES]) {
  const page = join(ROOT, 'docs/api', folder, 'index.md');
  writeFileSync(page, withImportNames(readFileSync(page, 'utf8')));
}
if (process.argv.includes('--serve')) {
  run('vitepress/bin/vitepress.js', 'dev', 'site');
} else {
  run('vitepress/bin/vitepress.js', 'build', 'site');
  for (const [name, text] of Object.entries(await llmsFiles(ROOT))) {
    writeFileSync(join(ROOT, 'site/.vitepress/dist', name), text);
  }
  for (const path of FIXTURES) {
    cpSync(join(ROOT, 'test/fixtures', path), join(ROOT, 'site/.vitepress/dist/test/fixtures', path), {
      recursive: true,
    });
  }
  console.log('The site is in site/.vitepress/dist. `npx vitepress preview site` serves it.');
}
