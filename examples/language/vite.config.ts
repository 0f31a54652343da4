import {createReadStream, statSync} from 'node:fs';
import type {IncomingMessage, ServerResponse} from 'node:http';
import {fileURLToPath} from 'node:url';
import {type Connect, defineConfig, type Plugin} from 'vite';
import {builtEntries} from '../../scripts/entries';
import {smollm2} from '../../scripts/pretrained';

/** Serves the model's file as `/model/base.gguf` from the cache that it is in. */
const model: Plugin = {
  name: 'model',
  configureServer: ({middlewares}) => serveModel(middlewares),
  configurePreviewServer: ({middlewares}) => serveModel(middlewares),
};

function serveModel(middlewares: Connect.Server): void {
  middlewares.use('/model/base.gguf', (_: IncomingMessage, response: ServerResponse) => {
    const file = smollm2();
    response.setHeader('Content-Type', 'application/octet-stream');
    response.setHeader('Content-Length', statSync(file).size);
    createReadStream(file).pipe(response);
  });
}

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  // As in a project that has installed the library.
  resolve: {alias: builtEntries(fileURLToPath(new URL('../..', import.meta.url)))},
  plugins: [model],
  server: {host: '127.0.0.1'},
  preview: {host: '127.0.0.1'},
  worker: {format: 'es'},
  build: {outDir: 'output/site', emptyOutDir: true, chunkSizeWarningLimit: 3000},
});
