import {execFileSync} from 'node:child_process';
import {existsSync, readdirSync, statSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {build, preview} from 'vite';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** A page that is served on this machine. */
export interface ServedPage {
  url: string;
  close(): Promise<void>;
}

/** Builds a page, and the library if necessary, and serves the page until the program is stopped. */
export async function servePage(configFile: string): Promise<void> {
  sayWhere(await openPage(configFile));
}

/** Builds a page that does not use the built library, and serves it until the program is stopped. */
export async function serveSource(configFile: string): Promise<void> {
  sayWhere(await buildPage(configFile));
}

function sayWhere({url}: ServedPage): void {
  console.log(`\nOpen the page: ${url}\nStop with Ctrl+C.`);
}

/** Builds a page, and the library if it is not built yet or has changed since, and serves the page. */
export async function openPage(configFile: string): Promise<ServedPage> {
  if (!isBuilt()) {
    console.log('Building the library …');
    execFileSync(process.execPath, [join(ROOT, 'node_modules/tsdown/dist/run.mjs'), '--logLevel', 'error'], {
      cwd: ROOT,
      stdio: 'inherit',
    });
  }
  return buildPage(configFile);
}

async function buildPage(configFile: string): Promise<ServedPage> {
  console.log('Building the page …');
  // The default loader warns that imports in the config have no file extension.
  const configLoader = 'runner';
  await build({configFile, configLoader, logLevel: 'error'});
  const server = await preview({configFile, configLoader});
  return {url: server.resolvedUrls?.local[0] ?? '', close: () => server.close()};
}

/** Whether the built library is newer than all of its source. */
function isBuilt(): boolean {
  const built = join(ROOT, 'dist/index.js');
  if (!existsSync(built)) {
    return false;
  }
  const {mtimeMs} = statSync(built);
  const files = readdirSync(join(ROOT, 'src'), {recursive: true, encoding: 'utf8'});
  return files.every(file => statSync(join(ROOT, 'src', file)).mtimeMs <= mtimeMs);
}
