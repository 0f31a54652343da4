// A page of a test, built as pages are and served to a browser.

import {spawnSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {createServer} from 'node:http';
import {tmpdir} from 'node:os';
import {basename, join} from 'node:path';
import {contentType, listen} from './chromium';

const MODULES = join(process.cwd(), 'node_modules');

/**
 * Builds the page in a folder, minified, and serves it; under `/wasm/` the files of tfjs's backend, and under `/model/`
 * those of another folder.
 */
export async function servePage(source: string, model = ''): Promise<{url: string; close: () => void}> {
  const folder = mkdtempSync(join(tmpdir(), 'page-'));
  const options = ['--outDir', folder, '--assetsDir', '.', '--logLevel', 'error'];
  const {status, stderr} = spawnSync(
    process.execPath,
    [join(MODULES, 'vite/bin/vite.js'), 'build', source, ...options],
    {
      encoding: 'utf8',
    },
  );
  if (status !== 0) {
    throw new Error(`The page could not be built: ${stderr}`);
  }
  const wasm = join(MODULES, '@tensorflow/tfjs-backend-wasm/dist');
  const server = createServer((request, response) => {
    const {url = '/'} = request;
    const name = basename(url) || 'index.html';
    response.setHeader('content-type', contentType(name));
    const from = url.startsWith('/wasm/') ? wasm : url.startsWith('/model/') ? model : folder;
    response.end(readFileSync(join(from, name)));
  });
  const close = () => {
    server.close();
    rmSync(folder, {recursive: true});
  };
  return {url: `${await listen(server)}/`, close};
}
