import {createReadStream, existsSync, statSync} from 'node:fs';
import type {IncomingMessage, ServerResponse} from 'node:http';
import {basename, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {type Connect, defineConfig, type Plugin} from 'vite';
import {minilmFolder} from '../../scripts/pretrained';

const built = (name: string) => fileURLToPath(new URL(`../../dist/${name}.js`, import.meta.url));

/** Serves the encoder's files under `/model/` from the cache that they are in. */
const encoder: Plugin = {
  name: 'encoder',
  configureServer: ({middlewares}) => serveEncoder(middlewares),
  configurePreviewServer: ({middlewares}) => serveEncoder(middlewares),
};

function serveEncoder(middlewares: Connect.Server): void {
  middlewares.use('/model', (request: IncomingMessage, response: ServerResponse, next: () => void) => {
    const file = join(minilmFolder(), basename(new URL(request.url ?? '/', 'http://localhost').pathname));
    if (!existsSync(file) || !statSync(file).isFile()) {
      next();
      return;
    }
    response.setHeader('Content-Type', file.endsWith('.json') ? 'application/json' : 'application/octet-stream');
    response.setHeader('Content-Length', statSync(file).size);
    createReadStream(file).pipe(response);
  });
}

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  // As in a project that has installed the library. The longer name first: an alias takes whatever begins with it.
  resolve: {alias: {'tfjs-lora/transformers': built('transformers'), 'tfjs-lora': built('index')}},
  plugins: [encoder],
  server: {host: '127.0.0.1'},
  preview: {host: '127.0.0.1'},
  worker: {format: 'es'},
  build: {outDir: 'output/site', emptyOutDir: true, chunkSizeWarningLimit: 3000},
});
