import {existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, fileHandler, loadAdapter, loadKerasModel, saveAdapter} from 'tfjs-lora';
import {main} from '../../src/cli/main';
import {fromONNX} from '../../src/onnx';
import {loadTransformer} from '../../src/transformers';
import {fileOf} from '../extensions/language/ggufFiles';
import {fixture} from '../extensions/transformers/fixtures';
import {numbers, random, useBackend} from '../helpers';
import {stirFactors} from '../models';
import {temporaryFolder} from '../temporaryFolder';

const FIXTURES = join(__dirname, '../fixtures');
let folder: string;

beforeEach(async () => {
  await useBackend('cpu');
  folder = temporaryFolder();
});

async function run(...args: string[]): Promise<{code: number; out: string; err: string}> {
  const written = {out: '', err: ''};
  const code = await main(args, {
    out: text => (written.out += `${text}\n`),
    err: text => (written.err += `${text}\n`),
  });
  return {code, ...written};
}

const at = (name: string) => join(folder, name);

/** y = x·W + b with W = [[1, 2], [3, 4], [5, 6]], b = [0, 1]. */
function dense(): tf.LayersModel {
  const model = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3], name: 'fc'})]});
  model.setWeights([tf.tensor2d([[1, 2], [3, 4], [5, 6]]), tf.tensor1d([0, 1])]); // prettier-ignore
  return model;
}

/** The model on disk, and beside it an adapter of rank 1 with A·B = k·[[1, -1], [2, -2], [0, 0]]. */
async function saveBoth(k = 1, name = 'a.safetensors'): Promise<void> {
  await dense().save(fileHandler(at('base')));
  const adapted = applyLoRA(dense(), {rank: 1});
  const layer = adapted.getLayer('fc') as tf.layers.Layer & {setParameter(name: string, value: tf.Tensor): void};
  layer.setParameter('lora_A', tf.tensor2d([[1], [2], [0]]));
  layer.setParameter('lora_B', tf.tensor2d([[k, -k]]));
  await saveAdapter(adapted, fileHandler(at(name)));
}

/** The model of Keras 3 that tfjs alone does not load, as the converter left it. */
const KERAS3 = join(FIXTURES, 'keras/keras-3.15-keras-conv');

async function kernelAt(path: string): Promise<number[]> {
  const model = await tf.loadLayersModel(fileHandler(path));
  return numbers(model.getWeights()[0]!);
}

async function updateAt(path: string): Promise<number[]> {
  const {tensors, config} = await loadAdapter(fileHandler(path));
  const {rank, alpha} = config.layers.fc!;
  return numbers(
    tf.mul(tf.matMul(tensors['fc/lora_A'] as tf.Tensor2D, tensors['fc/lora_B'] as tf.Tensor2D), alpha / rank),
  );
}

describe('inspect', () => {
  test('lists the layers of an adapter, in a table and as JSON', async () => {
    const path = join(FIXTURES, 'saved/adapter.safetensors');
    const {code, out} = await run('inspect', path);
    expect(code).toBe(0);
    expect(out).toMatch(/adapter, 596 bytes\n {2}layer {9}class {2}method {2}rank {2}alpha {2}numbers\n/);
    expect(out).toMatch(/body\/dense_1 {2}Dense {2}lora {4}2 {5}3 {6}14\n {2}in full: head\n {2}19 numbers/);
    const [entry] = JSON.parse((await run('inspect', '--json', path)).out) as Record<string, unknown>[];
    expect(entry).toMatchObject({kind: 'adapter', bytes: 596, numbers: 19, trainable: ['head']});
    expect(entry).toMatchObject({layers: [{path: 'body/dense_1', className: 'Dense', rank: 2, alpha: 3, numbers: 14}]});
  });

  test('describes a model, an adapted model, a graph and a PEFT folder', async () => {
    await saveBoth();
    const paths = [
      at('base'),
      join(FIXTURES, 'adapted/images/adapted'),
      join(FIXTURES, 'graph/uNet'),
      join(FIXTURES, 'peft/lora'),
    ];
    const {code, out} = await run('inspect', ...paths);
    expect(code).toBe(0);
    expect(out).toMatch(/base: layers model, .*\n(.*\n)* {2}fc +Dense +8 +yes\n/);
    expect(out).toContain('trainable params: 280 || all params: 775');
    expect(out).toMatch(/uNet: graph model, .*\n.*\n {2}input +keras_tensor +float32/);
    expect(out).toMatch(/lora: PEFT adapter, .*\n(.*\n)* {2}base_model.model.fc1.lora_A.weight +F32 +3×8\n/);
  });

  test('describes a Keras 3 model, which tfjs alone does not load', async () => {
    const {code, out, err} = await run('inspect', KERAS3);
    expect({code, err}).toEqual({code: 0, err: ''});
    expect(out).toMatch(/keras-3.15-keras-conv: layers model, .*\n(.*\n)* {2}\S+ +Conv2D +\d+ +yes\n/);
  });
});

describe('merge', () => {
  test('refuses another base than that of the adapter, unless it is forced', async () => {
    await saveBoth();
    await run('merge', at('base'), at('a.safetensors'), '--out', at('merged'));
    const twice = ['merge', at('merged'), at('a.safetensors'), '--out', at('twice')];
    const refused = await run(...twice);
    expect(refused).toMatchObject({code: 1, out: ''});
    expect(refused.err).toMatch(
      /The weights of this model already contain the adapter.* To merge it anyway, pass --force\.\n$/,
    );
    expect(existsSync(at('twice'))).toBe(false);

    const other = dense();
    other.setWeights([tf.tensor2d([[-3, 1], [2, -2], [5, 1]]), tf.tensor1d([0, 1])]); // prettier-ignore
    await other.save(fileHandler(at('other')));
    const forced = ['merge', at('other'), at('a.safetensors'), '--out', at('forced')];
    expect((await run(...forced)).err).toMatch(/The adapter was trained on another base: the kernels of fc differ/);
    const warn = jest.spyOn(console, 'warn').mockImplementation();
    expect(await run(...forced, '--force')).toMatchObject({code: 0});
    expect(warn).toHaveBeenCalledTimes(1);
    warn.mockRestore();
    expect(await kernelAt(at('forced'))).toEqual([-2, 0, 4, -4, 5, 1]);
  });

  test('writes the model with the update in its kernel', async () => {
    await saveBoth();
    const {code, out, err} = await run(
      'merge',
      at('base'),
      at('a.safetensors'),
      '--out',
      at('merged'),
      '--scale',
      '0.5',
    );
    expect({code, out}).toEqual({code: 0, out: `${at('merged')}\n`});
    expect(err).toContain('Reading the layers model');
    expect(await kernelAt(at('merged'))).toEqual([1.5, 1.5, 4, 3, 5, 6]);
  });

  test('takes an adapted model without an adapter', async () => {
    await run('merge', join(FIXTURES, 'adapted/images/adapted'), '--out', at('merged'));
    const merged = await tf.loadLayersModel(fileHandler(at('merged')));
    expect(merged.getLayer('conv').getClassName()).toBe('Conv2D');
  });

  test('takes a base of Keras 3 and an adapter for it', async () => {
    const base = await loadKerasModel(fileHandler(KERAS3));
    const adapted = applyLoRA(base, {rank: 1});
    stirFactors(adapted);
    await saveAdapter(adapted, fileHandler(at('a.safetensors')));
    const {code} = await run('merge', KERAS3, at('a.safetensors'), '--out', at('merged'));
    expect(code).toBe(0);
    const merged = await tf.loadLayersModel(fileHandler(at('merged')));
    const x = random([2, ...base.inputs[0]!.shape.slice(1)] as [number, number], 1);
    const [found, expected] = [merged, adapted].map(each => numbers(each.predict(x) as tf.Tensor));
    found!.forEach((value, i) => expect(value).toBeCloseTo(expected![i]!, 5));
  });

  test('writes a graph back as a graph', async () => {
    const {code} = await run('merge', join(FIXTURES, 'graph/uNet'), '--out', at('graph'));
    // A graph that is not adapted has nothing to merge.
    expect(code).toBe(1);
    expect(existsSync(at('graph'))).toBe(false);
    const {fromGraphModel} = await import('../../src/graph');
    const base = await fromGraphModel(await tf.loadGraphModel(fileHandler(join(FIXTURES, 'graph/uNet'))));
    await saveAdapter(applyLoRA(base, {rank: 1}), fileHandler(at('g.safetensors')));
    expect(await run('merge', join(FIXTURES, 'graph/uNet'), at('g.safetensors'), '--out', at('graph'))).toMatchObject({
      code: 0,
    });
    const x = tf.ones([1, 16, 16, 3]);
    const [plain, written] = await Promise.all(
      [join(FIXTURES, 'graph/uNet'), at('graph')].map(async path => tf.loadGraphModel(fileHandler(path))),
    );
    const difference = tf.max(tf.abs(tf.sub(plain!.predict(x) as tf.Tensor, written!.predict(x) as tf.Tensor)));
    expect(difference.dataSync()[0]).toBeLessThan(1e-5);
  });
});

describe('convert', () => {
  test('writes a layers model as ONNX, which is inspected, merged, and made into layers again', async () => {
    await saveBoth();
    expect(await run('convert', at('base'), '--out', at('base.onnx'))).toMatchObject({code: 0});
    const told = await run('inspect', at('base.onnx'));
    expect(told.out).toMatch(/base\.onnx: ONNX model, .* bytes\n/);
    expect(told.out).toContain('opset 17: 1 MatMul, 1 Add');
    expect(await run('merge', at('base'), at('a.safetensors'), '--out', at('merged.onnx'))).toMatchObject({code: 0});
    expect(await run('convert', at('merged.onnx'), '--out', at('layers'))).toMatchObject({code: 0});
    expect(await kernelAt(at('layers'))).toEqual([2, 1, 5, 2, 5, 6]);
    const adapted = applyLoRA(await fromONNX(at('base.onnx')), {rank: 1, seed: 1});
    stirFactors(adapted);
    await saveAdapter(adapted, fileHandler(at('o.safetensors')));
    const merged = ['merge', at('base.onnx'), at('o.safetensors'), '--out', at('tuned.onnx')];
    expect(await run(...merged)).toMatchObject({code: 0});
    expect(readFileSync(at('tuned.onnx'))).toHaveLength(readFileSync(at('base.onnx')).length);
    expect((await run('convert', at('base'), '--out', at('base.onnx'))).err).toContain('exists');
    expect((await run('convert', at('base.onnx'), '--out', at('other.onnx'))).err).toContain('becomes an .onnx file');
  });

  test('writes safetensors as JSON and weights, and back', async () => {
    await saveBoth();
    expect(await run('convert', at('a.safetensors'), '--out', at('b.json'))).toMatchObject({code: 0});
    expect(await run('convert', at('b.json'), '--out', at('c.safetensors'))).toMatchObject({code: 0});
    expect(readFileSync(at('c.safetensors'))).toEqual(readFileSync(at('a.safetensors')));
  });

  test('writes a PEFT folder with the base and a key map, and reads it', async () => {
    await saveBoth();
    writeFileSync(at('map.json'), JSON.stringify({'model.fc': 'fc'}));
    const base = ['--model', at('base'), '--key-map', at('map.json')];
    expect(await run('convert', at('a.safetensors'), '--out', at('peft'), ...base)).toMatchObject({code: 0});
    expect(readFileSync(at('peft/adapter_model.safetensors')).toString('latin1')).toContain(
      'base_model.model.model.fc.lora_A',
    );
    expect(await run('convert', at('peft'), '--out', at('d.safetensors'), ...base)).toMatchObject({code: 0});
    expect(await updateAt(at('d.safetensors'))).toEqual([1, -1, 2, -2, 0, 0]);
    expect((await run('convert', at('peft'), '--out', at('e.safetensors'))).err).toContain('--model <path>');
  });
});

describe('adapt', () => {
  test('writes a graph with an adapter beside its products, and the adapter in a data file', async () => {
    await saveBoth();
    await run('convert', at('base'), '--out', at('base.onnx'));
    const args = ['adapt', at('base.onnx'), at('a.safetensors'), '--out', at('new/model.onnx')];
    expect(await run(...args)).toMatchObject({code: 0, out: `${at('new/model.onnx')}\n`});
    expect(readdirSync(at('new')).sort()).toEqual(['model.onnx', 'model.onnx_data']);
    const model = await fromONNX(at('new/model.onnx'), {externalData: {'model.onnx_data': at('new/model.onnx_data')}});
    expect(numbers(model.predict(tf.ones([1, 3])) as tf.Tensor)).toEqual([9 + 3, 13 - 3]);
    expect(await run(...args)).toMatchObject({code: 1, err: expect.stringContaining('exists')});
    expect((await run(...args, '--force')).code).toBe(0);
  });

  test('leaves nothing where the adapter does not fit, and says what it takes', async () => {
    await saveBoth();
    const out = ['--out', at('new.onnx')];
    writeFileSync(at('page.onnx'), '<!doctype html><html></html>');
    expect(await run('adapt', at('page.onnx'), at('a.safetensors'), ...out)).toMatchObject({code: 1});
    expect(await run('adapt', at('base'), at('a.safetensors'), ...out)).toMatchObject({
      code: 1,
      err: expect.stringContaining('layers model, not an ONNX model'),
    });
    expect((await run('adapt', at('page.onnx'), at('a.safetensors'), '--out', at('new'))).code).toBe(2);
    expect(existsSync(at('new.onnx'))).toBe(false);
  });
});

describe('combine', () => {
  test('adds adapters with weights, also negative ones', async () => {
    await saveBoth();
    await saveBoth(4, 'b.safetensors');
    const paths = [at('a.safetensors'), at('b.safetensors')];
    expect(await run('combine', ...paths, '--weights', '-1,0.5', '--out', at('sum.safetensors'))).toMatchObject({
      code: 0,
    });
    expect(await updateAt(at('sum.safetensors'))).toEqual([1, -1, 2, -2, 0, 0]);
  });

  test('asks for as many weights as there are adapters', async () => {
    await saveBoth();
    const twice = [at('a.safetensors'), at('a.safetensors'), '--out', at('sum.safetensors')];
    expect(await run('combine', ...twice)).toMatchObject({code: 2, err: expect.stringContaining('--weights 0.5,0.5')});
    expect(await run('combine', ...twice, '--weights', '1,x')).toMatchObject({
      code: 2,
      err: expect.stringContaining('2 numbers'),
    });
  });
});

describe('what is there stays', () => {
  const contents = () =>
    readdirSync(folder, {recursive: true, encoding: 'utf8'})
      .sort()
      .map(name => [name, lstatSync(at(name)).isFile() ? readFileSync(at(name), 'base64') : '']);

  beforeEach(async () => {
    await saveBoth();
    await saveBoth(4, 'b.safetensors');
    mkdirSync(at('full'));
    writeFileSync(at('full/notes.txt'), 'mine');
    mkdirSync(at('empty'));
    symlinkSync(at('base'), at('link'));
    symlinkSync(at('a.safetensors'), at('link.safetensors'));
  });

  test.each([
    [['merge', 'base', 'a.safetensors', '--out', 'base'], 'is what this command reads'],
    [['merge', 'base', 'a.safetensors', '--out', 'base/model.json'], 'is what this command reads'],
    [['merge', 'base/model.json', 'a.safetensors', '--out', 'link'], 'is what this command reads'],
    [['merge', 'link', 'a.safetensors', '--out', './base/.'], 'is what this command reads'],
    [['merge', 'base', 'a.safetensors', '--out', 'full'], 'exists'],
    [['convert', 'b.safetensors', '--out', './b.safetensors', '--dtype', 'float16'], 'is what this command reads'],
    [['convert', 'a.safetensors', '--out', 'link.safetensors'], 'is what this command reads'],
    [['convert', 'a.safetensors', '--out', 'b.safetensors'], 'exists'],
    [
      ['combine', 'a.safetensors', 'b.safetensors', '--weights', '1,1', '--out', 'b.safetensors'],
      'is what this command',
    ],
  ])('%j is refused before anything is read, and done with --force', async (args, message) => {
    const given = args.map(arg => (/^(\.|base|full|link|a\.|b\.)/.test(arg) ? `${folder}/${arg}` : arg));
    const before = contents();
    const {code, err, out} = await run(...given);
    expect({code, out}).toEqual({code: 1, out: ''});
    expect(err).toContain(`${given[given.indexOf('--out') + 1]!} ${message}`);
    expect(err).toMatch(/^[^\n]* or replace it with --force\.\n$/);
    expect(contents()).toEqual(before);
    expect(await run(...given, '--force')).toMatchObject({code: 0});
    expect(contents()).not.toEqual(before);
  });

  test.each([
    [
      ['convert', 'a.safetensors', '--model', 'base', '--out', 'base'],
      'holds a model, and would get an adapter of PEFT',
    ],
    [
      ['convert', 'a.safetensors', '--model', 'base', '--out', 'link'],
      'holds a model, and would get an adapter of PEFT',
    ],
    [['convert', 'a.safetensors', '--out', 'base/model.json'], 'holds a model, and would get an adapter'],
    [['convert', 'a.safetensors', '--key-map', 'map.json', '--out', 'map.json'], 'is read by this command'],
    [['merge', 'base', 'a.safetensors', '--out', 'a.json'], 'holds an adapter, and would get a model'],
    [['merge', 'base', 'a.safetensors', '--out', 'file'], 'is a file, and --out names a folder'],
    [['convert', 'a.safetensors', '--out', 'empty.json'], 'is a folder, and --out names a file'],
  ])('%j is refused with --force too', async (args, message) => {
    await run('convert', at('a.safetensors'), '--out', at('a.json'));
    writeFileSync(at('map.json'), '{}');
    writeFileSync(at('file'), 'mine');
    mkdirSync(at('empty.json'));
    writeFileSync(at('empty.json/notes.txt'), 'mine');
    const before = contents();
    const {code, err} = await run(
      ...args.map(arg => (/^[^-]/.test(arg) && arg !== args[0] ? at(arg) : arg)),
      '--force',
    );
    expect(code).toBe(1);
    expect(err).toContain(message);
    expect(contents()).toEqual(before);
  });

  test.each([
    ['merge', 'base', 'a.safetensors', '--out', 'new'],
    ['convert', 'a.safetensors', '--model', 'base', '--key-map', 'map.json', '--out', 'new'],
    ['convert', 'a.safetensors', '--out', 'new.json'],
    ['combine', 'a.safetensors', '--out', 'new/deep/new.safetensors'],
  ])('of several %s at once the first writes', async (...args) => {
    writeFileSync(at('map.json'), JSON.stringify({'model.fc': 'fc'}));
    const given = args.map((arg, i) => (i === 0 || arg.startsWith('--') ? arg : at(arg)));
    const results = await Promise.all([1, 2, 3, 4].map(() => run(...given)));
    expect(results.map(({code}) => code).sort()).toEqual([0, 1, 1, 1]);
    for (const {code, err} of results) {
      expect(code === 0 || err.includes(`${given.at(-1)!} exists. Choose another --out`)).toBe(true);
    }
    expect(contents().filter(([name]) => /lock|draft/.test(name!))).toEqual([]);
    expect(await run('inspect', given.at(-1)!)).toMatchObject({code: 0});
  });

  test('an empty folder is free', async () => {
    expect(await run('merge', at('base'), at('a.safetensors'), '--out', at('empty'))).toMatchObject({code: 0});
    expect(await kernelAt(at('empty'))).toEqual([2, 1, 5, 2, 5, 6]);
  });
});

describe('wrong arguments are reported', () => {
  test.each([
    [[], 2, 'tfjs-lora <command>'],
    [['merge', 'x', '--out', 'y', '--scale', '2'], 2, '--scale needs an adapter in a separate file'],
    [['merge', join(FIXTURES, 'adapted/images/adapted'), '--out', 'y', '--dtype', 'float16'], 2, '--dtype is for'],
    [['merge', 'x', '--out', 'y', '--dtype', 'bfloat16'], 2, '--dtype must be float32 or float16, got "bfloat16".'],
    [['merge', 'x', '--out', 'y.safetensors'], 2, '--out must be a folder, or a .json or .onnx file, of a model'],
    [['convert', 'x', '--out', 'y.json', '--dtype', 'float16'], 2, 'A .json file holds float32.'],
    [['convert', 'x', '--out', 'y', '--dtype', 'int8'], 2, '--dtype must be float32, float16 or bfloat16, got "int8".'],
    [['convert', 'x', '--out', 'y'], 2, 'Pass the model that the adapter belongs to: --model <path>.'],
    [['combine', 'x', '--out', 'y.json', '--rank', '0'], 2, '--rank must be a positive integer, got "0".'],
    [['combine', 'x', '--out', 'y.json', '--method', 'sum'], 2, '--method must be exact, ties or dare, got "sum".'],
    [['combine', 'x', '--out', 'y.json', '--density', '0.2'], 2, '--density is for --method ties or dare.'],
    [['combine', 'x', '--out', 'y.json', '--method', 'ties'], 2, '--density is missing. For example: --density 0.2.'],
    [['combine', 'x', '--out', 'y.json', '--method', 'dare', '--density', '2'], 2, '--density must be above 0'],
    [['combine', 'x', '--out', 'y.json', '--method', 'ties', '--density', '1', '--weights', '-1'], 2, 'positive'],
    [['insect'], 2, 'Did you mean "inspect"?'],
    [['inspect', '--jsn', 'x'], 2, 'There is no option "--jsn". Did you mean "--json"?'],
    [['inspect'], 2, 'got no path'],
    [['convert', 'x', '--out', 'a.json', '--out', 'b.json'], 2, '--out is given twice: "a.json" and "b.json".'],
    [['inspect', 'x', '--json=no'], 2, '--json takes no value, got "no".'],
    [['merge', 'x', '--out'], 2, '--out needs a value: --out <path>.'],
    [['merge', join(FIXTURES, 'graph/uNet')], 2, '--out is missing'],
    [['convert', 'x', '--out', 'y.bin'], 2, 'must end in .safetensors or .json'],
    [['combine', 'x', '--out', 'y.json', '--rank', 'two'], 2, '--rank must be a number, got "two".'],
    [['inspect', join(FIXTURES, 'save')], 1, `Did you mean ${join(FIXTURES, 'saved')}?`],
    [['inspect', FIXTURES], 1, 'contains neither adapter_config.json'],
    [['inspect', join(FIXTURES, 'twoCopies.cjs')], 1, 'is neither a .safetensors or .onnx file nor JSON'],
    [['convert', join(FIXTURES, 'graph/uNet'), '--out', 'y.json'], 1, 'is a graph model, not an adapter'],
    [['merge', join(FIXTURES, 'saved/adapter.json'), '--out', 'y'], 1, 'is an adapter, not a model'],
    [['inspect', 'x', '--register', join(FIXTURES, 'none.js')], 1, 'cannot be imported'],
  ])('%j', async (args, code, message) => {
    const result = await run(...args);
    expect(result.code).toBe(code);
    expect(result.err + result.out).toContain(message);
  });

  test.each([
    [['merge', 'base', 'a.safetensors', '--scale', '1e40'], 'got 1e+40, which is infinite in float32'],
    [['merge', 'base', 'a.safetensors', '--scale', '2e38'], 'fc'],
    [['combine', 'a.safetensors', 'a.safetensors', '--weights', '1e39,1'], 'got 1e+39, which is infinite in float32'],
    [
      ['combine', 'a.safetensors', 'a.safetensors', '--weights', '3e38,3e38'],
      'fc/lora_B: NaN or infinite, so nothing is written.',
    ],
  ])('%j, which would not be finite, is told and writes nothing', async ([command, ...args], message) => {
    await saveBoth(4);
    const given = args.map(arg => (/^(base|a\..*)$/.test(arg) ? at(arg) : arg));
    const out = at(command === 'merge' ? 'merged' : 'sum.safetensors');
    const {code, err} = await run(command!, ...given, '--out', out);
    expect({code, exists: existsSync(out)}).toEqual({code: 1, exists: false});
    expect(err).toContain(message);
  });

  test('an adapter that is not finite is converted where that is said', async () => {
    await saveBoth(4);
    const given = [at('a.safetensors'), at('a.safetensors'), '--weights', '3e38,3e38', '--out', at('sum.safetensors')];
    expect((await run('combine', ...given, '--allow-non-finite')).code).toBe(0);
    const out = at('converted.json');
    const {code, err} = await run('convert', at('sum.safetensors'), '--out', out);
    expect({code, exists: existsSync(out)}).toEqual({code: 1, exists: false});
    expect(err).toContain('fc/lora_B: NaN or infinite, so nothing is written.');
    expect((await run('convert', at('sum.safetensors'), '--out', out, '--allow-non-finite')).code).toBe(0);
  });

  test.each(['inspect', 'convert', 'combine', 'merge'])(
    '%s of a device that never ends ends at once',
    async command => {
      const out = command === 'inspect' ? [] : ['--out', at(command === 'merge' ? 'm' : 'o.json')];
      symlinkSync('/dev/zero', at('zero.safetensors'));
      for (const path of ['/dev/zero', at('zero.safetensors')]) {
        const {code, err} = await run(command, path, ...out);
        expect({code, err}).toEqual({code: 1, err: `${path} is neither a file nor a folder.\n`});
      }
      await saveBoth();
      const map = await run('convert', at('a.safetensors'), '--out', at('p.json'), '--key-map', '/dev/zero');
      expect(map.err).toContain('The key map /dev/zero cannot be read: ');
    },
  );

  test('a damaged file is named', async () => {
    await saveBoth();
    const bytes = readFileSync(at('a.safetensors'));
    writeFileSync(at('half.safetensors'), bytes.subarray(0, bytes.length / 2));
    for (const args of [['inspect'], ['convert', '--out', at('o.json')], ['combine', '--out', at('o.json')]]) {
      const {code, err} = await run(...args, at('half.safetensors'));
      expect(code).toBe(1);
      expect(err).toContain(`${at('half.safetensors')} cannot be read: `);
    }
  });

  test('--version prints the version', async () => {
    const {version} = JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8')) as {version: string};
    expect(await run('--version')).toEqual({code: 0, out: `${version}\n`, err: ''});
  });

  test('--help shows the options', async () => {
    const {code, out} = await run('combine', '--help');
    expect(code).toBe(0);
    expect(out).toMatch(/--weights <w,w,…> +the weight of each adapter/);
  });
});

describe('docs', () => {
  beforeEach(() => {
    writeFileSync(
      at('one.md'),
      '# First page\n\nText of [one](two.md).\n\n## Rates\n\n```sh\n# no heading: warm-up\n```\n',
    );
    writeFileSync(at('two.md'), '# Second page\n\nIt has a rate.\n\n## Warm-up\n\nWarm-up is about rates.\n');
    writeFileSync(at('old.md'), '# Old\n\nThis page is now part of [one](one.md), with its rates.\n');
  });
  const docs = async (...words: string[]) => {
    let out = '';
    const code = await main(
      ['docs', ...words],
      {out: text => (out += `${text}\n`), err: text => (out += text)},
      folder,
    );
    return {code, out};
  };

  test('lists the pages, without those that lead to others', async () => {
    expect(await docs()).toEqual({code: 0, out: 'one  First page\ntwo  Second page\n'});
  });

  test('prints a page by its name', async () => {
    expect(await docs('two')).toEqual({code: 0, out: readFileSync(at('two.md'), 'utf8')});
  });

  test('prints the sections that contain all words, first those with the words in the heading', async () => {
    const {out} = await docs('WARM-UP');
    expect(out).toBe(
      '[two]\n## Warm-up\n\nWarm-up is about rates.\n\n[one]\n## Rates\n\n```sh\n# no heading: warm-up\n```\n\n',
    );
  });

  test('says so if no section contains the words', async () => {
    expect(await docs('zebra')).toEqual({
      code: 1,
      out: 'No section contains zebra. Without words, docs lists the pages.',
    });
  });
});

describe('published models', () => {
  const hubFolder = () => {
    const {config, weights} = fixture('bertClasses');
    mkdirSync(at('hub'));
    writeFileSync(at('hub/config.json'), config);
    writeFileSync(at('hub/model.safetensors'), weights);
    return at('hub');
  };

  test('inspect describes a folder of the hub, and a GGUF file', async () => {
    writeFileSync(at('llama.gguf'), fileOf('llama'));
    const {code, out, err} = await run('inspect', hubFolder(), at('llama.gguf'));
    expect({code, err}).toEqual({code: 0, err: ''});
    expect(out).toContain('hub: hub model, ');
    expect(out).toContain('llama.gguf: GGUF model, ');
    expect(out).toMatch(/query +Dense .* yes\n/);
  });

  test('merge takes a PEFT folder for a folder of the hub, and the result predicts as the adapted model', async () => {
    const {model: base} = await loadTransformer(hubFolder(), {tokenizer: false});
    const adapted = applyLoRA(base, {rank: 1, seed: 1});
    stirFactors(adapted);
    await saveAdapter(adapted, at('peft'), {format: 'peft'});
    const {code, err} = await run('merge', at('hub'), at('peft'), '--out', at('merged'));
    expect({code, err}).toEqual({code: 0, err: expect.stringContaining('Reading the hub model') as string});
    const merged = await tf.loadLayersModel(fileHandler(at('merged')));
    const inputs = base.inputs.map(({shape, dtype}) => tf.ones([1, ...shape.slice(1).map(size => size ?? 4)], dtype));
    const [expected, actual] = [adapted, merged].map(model => numbers(model.predict(inputs) as tf.Tensor));
    expect(actual).toBeAllClose(expected!);
  });

  test('convert writes a folder of the hub as an ONNX file or as a layers model', async () => {
    const hub = hubFolder();
    expect((await run('convert', hub, '--out', at('bert.onnx'))).code).toBe(0);
    expect(
      (await fromONNX(at('bert.onnx'), {inputShapes: {input_ids: [8], attention_mask: [8]}})).outputs,
    ).toHaveLength(1);
    expect((await run('convert', hub, '--out', at('layers'))).code).toBe(0);
    expect((await run('convert', hub, '--out', hub, '--force')).err).toContain('holds a published model');
    expect((await run('convert', hub, '--out', 'hf://org/copy')).err).toContain('Commands read addresses of the hub');
    expect((await tf.loadLayersModel(fileHandler(at('layers')))).countParams()).toBeGreaterThan(0);
  });
});
