import {createServer, type Server} from 'node:http';
import type {AddressInfo} from 'node:net';
import {pathToFileURL} from 'node:url';
import {loadAdapter, loadKerasModel, LoRAError} from 'tfjs-lora';
import {loadGGUF} from '../../../src/language';
import {loadTransformer} from '../../../src/transformers';
import {readPEFT} from '../../../src/core/peft/readPeft';
import {temporaryFolder} from '../../temporaryFolder';

let server: Server;
let url: string;

beforeAll(async () => {
  // Every answer breaks off after 20 of 1,000 bytes.
  server = createServer((_, response) => {
    response.writeHead(200, {'content-length': 1000});
    response.write(Buffer.from([...Buffer.from('GGUF'), 3, ...Array<number>(15).fill(0)]), () => response.destroy());
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => server.close());

test.each<[string, () => Promise<unknown>]>([
  ['a.safetensors', () => loadAdapter(`${url}/a.safetensors`)],
  ['a.json', () => loadAdapter(`${url}/a.json`)],
  ['a', () => loadAdapter(fetch(`${url}/a`))],
  ['config', () => readPEFT({config: fetch(`${url}/config`), weights: new Blob([])}, {})],
  ['model.gguf', () => loadGGUF(`${url}/model.gguf`)],
  ['config.json', () => loadTransformer(`${url}/bert`)],
  ['model.json', () => loadKerasModel(`${url}/model.json`)],
])('a download of %s that breaks off is told with its address', async (path, load) => {
  const loading = load();
  await expect(loading).rejects.toThrow(LoRAError);
  await expect(loading).rejects.toThrow(/terminated|Failed to parse model JSON/);
  await expect(loading).rejects.toThrow(`${url}/`);
  await expect(loading).rejects.toThrow(path);
});

test('a file that cannot be read to its end is told so', async () => {
  const broken = new Blob(['x'.repeat(100)]);
  const stream = new ReadableStream<Uint8Array>({pull: controller => controller.error(new Error('gone'))});
  jest.spyOn(broken, 'stream').mockReturnValue(stream as ReturnType<Blob['stream']>);
  const reading = loadAdapter(broken);
  await expect(reading).rejects.toThrow(LoRAError);
  await expect(reading).rejects.toThrow('The file cannot be read beyond byte 0: ');
});

test('a folder in place of a file, and a URL that is none, are told by name', async () => {
  const folder = temporaryFolder();
  for (const place of [folder, pathToFileURL(folder)]) {
    const loading = loadGGUF(place);
    await expect(loading).rejects.toThrow(LoRAError);
    await expect(loading).rejects.toThrow(`Cannot read ${folder}: it is not a file. Check the path.`);
  }
  await expect(loadTransformer({config: folder, weights: new Blob([])})).rejects.toThrow('it is not a file');
  await expect(loadGGUF('file:///100%/x')).rejects.toThrow('is not a valid file URL. Pass the plain path instead.');
});
