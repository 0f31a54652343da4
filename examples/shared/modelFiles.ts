import {createReadStream, existsSync, statSync} from 'node:fs';
import type {IncomingMessage, ServerResponse} from 'node:http';
import {basename, extname, join} from 'node:path';
import type {Connect, Plugin} from 'vite';

/** Browsers load a module only as JavaScript. */
const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
};

/** Serves files from the folder that they are in, or one file: those of a model, under `/model/`, or others. */
export function modelFiles(place: () => string, path = '/model'): Plugin {
  const serve = (middlewares: Connect.Server) => {
    middlewares.use(path, (request: IncomingMessage, response: ServerResponse, next: () => void) => {
      const name = basename(new URL(request.url ?? '/', 'http://localhost').pathname);
      const file = statSync(place()).isFile() ? place() : join(place(), name);
      if (!existsSync(file) || !statSync(file).isFile()) {
        next();
        return;
      }
      response.setHeader('Content-Type', TYPES[extname(file)] ?? 'application/octet-stream');
      response.setHeader('Content-Length', statSync(file).size);
      createReadStream(file).pipe(response);
    });
  };
  return {
    name: `files under ${path}`,
    configureServer: ({middlewares}) => serve(middlewares),
    configurePreviewServer: ({middlewares}) => serve(middlewares),
  };
}
