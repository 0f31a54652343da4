// Graphs that published decoders have, without their weights, as test/python/make_lastmile.py made them.

import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {gunzipSync} from 'node:zlib';
import {adaptONNX, type AdapterInput} from '../../../../src/onnx';
import {LoRAError} from '../../../../src/index';
import {readOnnx} from '../../../../src/extensions/onnx/file/readOnnx';
import {randomFrom} from '../../../attack/damage';
import {useBackend} from '../../../helpers';

beforeAll(() => useBackend('cpu'));

const FOLDER = join(__dirname, '../../../fixtures/lastMile');
const NAMES = ['builder-q4', 'optimum', 'optimum-q4', 'optimum-q8', 'dynamo'];
const fileOf = (name: string) => new Uint8Array(gunzipSync(readFileSync(join(FOLDER, `${name}.onnx.gz`))));
const ADAPTER = {
  config: readFileSync(join(FOLDER, 'adapter_config.json'), 'utf8'),
  weights: new Uint8Array(readFileSync(join(FOLDER, 'adapter_model.safetensors'))),
};
/** What PEFT adds to the product of each module for the input `x`. */
const ADDED = JSON.parse(readFileSync(join(FOLDER, 'added.json'), 'utf8')) as Record<string, number[]>;
const x = (size: number) => Array.from({length: size}, (_, i) => (i % 7) / 4 - 0.75);

/** `(x·A)·B`. */
function update(a: AdapterInput, b: AdapterInput): number[] {
  const [width, rank] = a.dims;
  const inner = Array.from({length: rank}, (_, k) =>
    x(width).reduce((sum, v, i) => sum + v * a.data[i * rank + k]!, 0),
  );
  const [, units] = b.dims;
  return Array.from({length: units}, (_, j) => inner.reduce((sum, v, k) => sum + v * b.data[k * units + j]!, 0));
}

describe.each(NAMES)('the file of %s', name => {
  test('gets what PEFT adds to each product', async () => {
    const {file, inputs} = await adaptONNX(fileOf(name), ADAPTER);
    const {nodes} = readOnnx(file).graph;
    const added = new Map<string, number[]>();
    for (const input of Object.keys(inputs).filter(key => key.endsWith('.lora_A'))) {
      const module = input.replace(/\.lora_A$/, '');
      const product = nodes.find(({op, inputs: [, factor]}) => op === 'MatMul' && factor === input)!;
      const second = nodes.find(({op, inputs: [first]}) => op === 'MatMul' && first === product.outputs[0])!;
      const sum = nodes.find(({op, inputs: [, term]}) => op === 'Add' && term === second.outputs[0])!;
      expect(second.inputs[1]).toBe(`${module}.lora_B`);
      expect(nodes.some(({outputs}) => outputs[0] === sum.inputs[0])).toBe(true);
      added.set(module, update(inputs[input]!, inputs[`${module}.lora_B`]!));
    }
    const peft = Object.entries(ADDED).map(([path, values]) => [path.replace(/^.*layers\.0\./, ''), values] as const);
    const expected = new Map(peft);
    const attention = ['q', 'k', 'v'].flatMap(part => expected.get(`self_attn.${part}_proj`)!);
    for (const [module, values] of added) {
      const path = module.replace(/^.*layers\.0\./, '');
      const wanted = path === 'self_attn.qkv_proj' ? attention : expected.get(path)!;
      expect(values).toBeAllClose(wanted, {rtol: 1e-4, atol: 1e-5});
    }
    expect([...added.values()].flat()).toHaveLength(peft.flatMap(([, values]) => values).length);
  });

  test('is refused by name where bytes are wrong, or cut off', async () => {
    const file = fileOf(name);
    const random = randomFrom(7);
    for (let round = 0; round < 40; round++) {
      const damaged = file.slice(0, round % 2 === 0 ? file.length : Math.floor(random() * file.length));
      for (let i = 0; i < 3; i++) {
        damaged[Math.floor(random() * damaged.length)] = Math.floor(random() * 256);
      }
      // Names may be damaged so that a file is right as before.
      const error: unknown = await adaptONNX(damaged, ADAPTER).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error === undefined || error instanceof LoRAError ? undefined : error).toBeUndefined();
    }
  });
});

const bytesOf = (text: string) => new TextEncoder().encode(text);

test.each([
  ['a page of the hub', bytesOf('<!doctype html><html><body>Sign in</body></html>')],
  ['the pointer of a file in Git LFS', bytesOf('version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n')],
  ['a graph that claims 2 GB', Uint8Array.of(0x08, 0x08, 0x3a, 0x80, 0x80, 0x80, 0x80, 0x08, 0x0a)],
  ['an empty file', new Uint8Array()],
])('%s is refused by name', async (_, file) => {
  const refused = {name: 'LoRAError', code: expect.stringMatching(/^ERR_(?:DAMAGED|UNSUPPORTED)$/) as string};
  await expect(adaptONNX(file, ADAPTER)).rejects.toMatchObject(refused);
});

test('the adapter of another model is refused, with the products that there are', async () => {
  const file = fileOf('optimum');
  const other = {...ADAPTER, weights: renamed(ADAPTER.weights, 'q_proj', 'x_proj')};
  await expect(adaptONNX(file, other)).rejects.toMatchObject({
    code: 'ERR_MISFIT',
    message: expect.stringMatching(
      /no product for 1 of the adapter's 7 modules.*x_proj.*Its products are.*q_proj/s,
    ) as string,
  });
});

/** A file whose tensors have another name of the same length. */
function renamed(weights: Uint8Array, from: string, to: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.from(Buffer.from(weights).toString('latin1').replaceAll(from, to), 'latin1'));
}
