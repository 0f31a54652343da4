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
 *
 * @param send says when a file is sent, by its name, and whether it is.
 */
export async function servePage(
  source: string,
  model = '',
  send: (name: string) => Promise<boolean> = () => Promise.resolve(true),
): Promise<{url: string; close: () => void}> {
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
    const from = url.startsWith('/wasm/') ? wasm : url.startsWith('/model/') ? model : folder;
    void send(name).then(isThere => {
      if (isThere) {
        response.setHeader('content-type', contentType(name)).end(readFileSync(join(from, name)));
      } else {
        response.writeHead(404).end();
      }
    });
  });
  const close = () => {
    server.close();
    rmSync(folder, {recursive: true});
  };
  return {url: `${await listen(server)}/`, close};
}
