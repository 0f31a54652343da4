import {createServer} from 'node:http';
import {type AddressInfo} from 'node:net';
import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {modelFiles} from '../../examples/shared/modelFiles';
import {temporaryFolder} from '../temporaryFolder';

test('the files of a model are served with types that browsers load', async () => {
  const folder = temporaryFolder();
  const types = {
    'module.js': 'text/javascript',
    'module.mjs': 'text/javascript',
    'config.json': 'application/json',
    'backend.wasm': 'application/wasm',
    'model.onnx': 'application/octet-stream',
  };
  Object.keys(types).forEach(name => writeFileSync(join(folder, name), 'content'));
  type Handler = (request: object, response: object, next: () => void) => void;
  let handle: Handler | undefined;
  const use = (_path: string, handler: Handler) => (handle = handler);
  const {configurePreviewServer} = modelFiles(() => folder);
  (configurePreviewServer as unknown as (server: object) => void)({middlewares: {use}});
  const server = createServer((request, response) =>
    handle!(request, response, () => response.writeHead(404).end()),
  ).listen(0, '127.0.0.1');
  await new Promise(resolve => server.once('listening', resolve));
  const {port} = server.address() as AddressInfo;
  try {
    const fetched = await Promise.all(
      Object.keys(types).map(async name => {
        const response = await fetch(`http://127.0.0.1:${port}/${name}`);
        expect(await response.text()).toBe('content');
        return [name, response.headers.get('content-type')];
      }),
    );
    expect(Object.fromEntries(fetched)).toEqual(types);
    expect((await fetch(`http://127.0.0.1:${port}/missing.js`)).status).toBe(404);
  } finally {
    server.close();
  }
});
