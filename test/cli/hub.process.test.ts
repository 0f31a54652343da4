import {readdirSync} from 'node:fs';
import {join} from 'node:path';
import {setHub} from '../../src';
import {main} from '../../src/cli/main';
import {fixture} from '../extensions/transformers/fixtures';
import {useBackend} from '../helpers';
import {HubServer} from '../hubServer';
import {temporaryFolder} from '../temporaryFolder';

let server: HubServer;
beforeAll(async () => {
  await useBackend('cpu');
  server = await new HubServer().start();
  const {config, weights} = fixture('bertClasses');
  server.push('org/bert', {'config.json': config, 'model.safetensors': weights});
  setHub({endpoint: server.url, cache: {folder: temporaryFolder()}});
});
afterAll(() => server.close());

test('commands take addresses of the hub', async () => {
  let out = '';
  const terminal = {out: (text: string) => (out += `${text}\n`), err: () => undefined};
  expect(await main(['inspect', 'hf://org/bert'], terminal)).toBe(0);
  expect(out).toContain('hf://org/bert: hub model\n');
  const folder = temporaryFolder();
  expect(await main(['convert', 'hf://org/bert', '--out', join(folder, 'bert.onnx')], terminal)).toBe(0);
  expect(readdirSync(folder)).toEqual(['bert.onnx']);
});
