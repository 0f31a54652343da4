import {execFileSync} from 'node:child_process';
import {existsSync, readdirSync, statSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {build, preview} from 'vite';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Builds a page, and the library where it is not built yet or has changed since, and serves the page on this machine.
 */
export async function servePage(configFile: string): Promise<void> {
  if (!isBuilt()) {
    console.log('Building the library …');
    execFileSync(process.execPath, [join(ROOT, 'node_modules/tsdown/dist/run.mjs'), '--logLevel', 'error'], {
      cwd: ROOT,
      stdio: 'inherit',
    });
  }
  console.log('Building the page …');
  await build({configFile, logLevel: 'error'});
  const server = await preview({configFile});
  console.log(`\nThe page is here: ${server.resolvedUrls?.local[0] ?? ''}\nStop it with Ctrl+C.`);
}

/** Whether the built library is younger than all of its source. */
function isBuilt(): boolean {
  const built = join(ROOT, 'dist/index.js');
  if (!existsSync(built)) {
    return false;
  }
  const {mtimeMs} = statSync(built);
  const files = readdirSync(join(ROOT, 'src'), {recursive: true, encoding: 'utf8'});
  return files.every(file => statSync(join(ROOT, 'src', file)).mtimeMs <= mtimeMs);
}
