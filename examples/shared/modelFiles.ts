import {createReadStream, existsSync, statSync} from 'node:fs';
import type {IncomingMessage, ServerResponse} from 'node:http';
import {basename, join} from 'node:path';
import type {Connect, Plugin} from 'vite';

/** Serves the files of a model under `/model/` from the folder that they are in. */
export function modelFiles(folder: () => string): Plugin {
  const serve = (middlewares: Connect.Server) => {
    middlewares.use('/model', (request: IncomingMessage, response: ServerResponse, next: () => void) => {
      const file = join(folder(), basename(new URL(request.url ?? '/', 'http://localhost').pathname));
      if (!existsSync(file) || !statSync(file).isFile()) {
        next();
        return;
      }
      response.setHeader('Content-Type', file.endsWith('.json') ? 'application/json' : 'application/octet-stream');
      response.setHeader('Content-Length', statSync(file).size);
      createReadStream(file).pipe(response);
    });
  };
  return {
    name: 'model-files',
    configureServer: ({middlewares}) => serve(middlewares),
    configurePreviewServer: ({middlewares}) => serve(middlewares),
  };
}
