import fs from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  exportPEFT,
  fileHandler,
  getAdapter,
  loadAdapter,
  LoRAError,
  modelCard,
  saveAdapter,
} from 'tfjs-lora';
import {readPEFTFolder, writePEFTFolder} from '../../src/node/peftFolder';
import {numbers, useBackend} from '../helpers';
import {mlp, stirFactors} from '../models';
import {peftFiles, smallNetwork} from '../peftNetworks';
import {temporaryFolder} from '../temporaryFolder';

beforeAll(() => useBackend('cpu'));

let folder: string;
beforeEach(() => (folder = temporaryFolder()));

const files = () => fs.readdirSync(folder, {recursive: true, encoding: 'utf8'}).sort();

describe('a folder of PEFT', () => {
  test('is read', async () => {
    expect(await readPEFTFolder(join(__dirname, '../fixtures/peft/lora'))).toEqual(
      expect.objectContaining({config: peftFiles('lora').config}),
    );
    const {weights} = await readPEFTFolder(join(__dirname, '../fixtures/peft/lora'));
    expect(Buffer.compare(weights, peftFiles('lora').weights)).toBe(0);
  });

  test('is written as PEFT lays it out, over an earlier one too', async () => {
    const {model} = smallNetwork();
    const target = join(folder, 'new', 'adapter');
    for (const name of ['lora', 'rslora']) {
      const adapter = await loadAdapter(peftFiles(name), {model});
      const exported = await exportPEFT(model, {adapter});
      const {modelArtifactsInfo} = await saveAdapter(adapter, target, {format: 'peft', model});
      expect(modelArtifactsInfo.weightDataBytes).toBe(exported.weights.length);
      expect(files()).toEqual([
        'new',
        'new/adapter',
        'new/adapter/adapter_config.json',
        'new/adapter/adapter_model.safetensors',
      ]);
      const again = await readPEFTFolder(target);
      expect(JSON.parse(again.config)).toEqual(exported.config);
      expect(Buffer.compare(again.weights, exported.weights)).toBe(0);
    }
  });

  test('is written with the options of exportPEFT, and a card', async () => {
    const adapted = applyLoRA(smallNetwork().model, {rank: 2, targets: ['fc1']});
    stirFactors(adapted);
    const readme = modelCard(adapted);
    const options = {keyMap: {'net.fc1': 'body/fc1'}, baseModel: 'a/b', dtype: 'float16'} as const;
    await saveAdapter(adapted, `file://${folder}/adapter`, {format: 'peft', readme, ...options});
    const {config, weights} = await exportPEFT(adapted, options);
    const again = await readPEFTFolder(join(folder, 'adapter'));
    expect(JSON.parse(again.config)).toEqual(config);
    expect(config).toMatchObject({base_model_name_or_path: 'a/b'});
    expect(Buffer.compare(again.weights, weights)).toBe(0);
    expect(fs.readFileSync(join(folder, 'adapter', 'README.md'), 'utf8')).toBe(readme);
    await saveAdapter(adapted, join(folder, 'adapter'), {format: 'peft'});
    expect(fs.readFileSync(join(folder, 'adapter', 'README.md'), 'utf8')).toBe(readme);
  });

  test.each<[what: string, place: unknown, options: object, message: string]>([
    ['a handler', fileHandler('out'), {}, 'The format "peft" is a folder, which needs a path in Node, got an object'],
    ['a URL of the web', 'https://example.com/out', {}, 'needs a path in Node, got "https://example.com/out"'],
    ['a scheme of pages', 'indexeddb://out', {}, 'Elsewhere exportPEFT(model) returns the contents of its files'],
    ['the name of a file', 'out.safetensors', {}, '"out.safetensors" is the name of one. Pass a folder'],
    ['no path', '', {}, 'The path must be a string'],
    ['a text that is none', 'out', {readme: 1}, 'readme must be the text of README.md, got a number'],
    ['a model beside a model', 'out', {model: tf.sequential()}, 'Leave model out'],
    ['an option of others', 'out', {adapter: null}, 'There is no option "adapter"'],
    ['a data type that there is not', 'out', {dtype: 'int8'}, 'dtype must be'],
  ])('is refused for %s, before anything is written', async (_, place, options, message) => {
    const adapted = applyLoRA(smallNetwork().model, {rank: 2});
    const before = fs.readdirSync('.');
    const saving = saveAdapter(adapted, place as string, {format: 'peft', ...options});
    await expect(saving).rejects.toThrow(LoRAError);
    await expect(saving).rejects.toThrow(message);
    expect(fs.readdirSync('.')).toEqual(before);
  });

  test('needs the model of an adapter', async () => {
    const adapter = getAdapter(applyLoRA(smallNetwork().model, {rank: 2}));
    await expect(saveAdapter(adapter, folder, {format: 'peft'})).rejects.toThrow(
      "Pass the model that it belongs to: saveAdapter(adapter, folder, {format: 'peft', model})",
    );
    await expect(saveAdapter(smallNetwork().model, folder, {format: 'peft'})).rejects.toThrow(
      'The model has no LoRA layers',
    );
    expect(files()).toEqual([]);
  });

  test('that lacks a file is refused with what belongs there', async () => {
    fs.writeFileSync(join(folder, 'adapter_config.json'), '{}');
    await expect(readPEFTFolder(folder)).rejects.toThrow(LoRAError);
    await expect(readPEFTFolder(folder)).rejects.toThrow(
      'adapter_model.safetensors. A PEFT adapter is adapter_config.json and adapter_model.safetensors in one folder.',
    );
  });

  test('that holds a pickle is refused, with how to convert it', async () => {
    fs.writeFileSync(join(folder, 'adapter_config.json'), '{}');
    fs.writeFileSync(join(folder, 'adapter_model.bin'), 'PK');
    await expect(readPEFTFolder(folder)).rejects.toThrow(LoRAError);
    await expect(readPEFTFolder(folder)).rejects.toThrow(
      /adapter_model\.bin is a pickle of PyTorch.*save_pretrained\(folder, safe_serialization=True\)/,
    );
  });

  test('that cannot be written is left as it was', async () => {
    const peft = peftFiles('lora');
    await writePEFTFolder(peft, folder);
    jest.spyOn(fs, 'renameSync').mockImplementation(() => {
      throw new Error('no space left');
    });
    await expect(writePEFTFolder(peftFiles('rslora'), folder)).rejects.toThrow(/Cannot save .*no space left/);
    expect(files()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
    expect((await readPEFTFolder(folder)).config).toBe(peft.config);
  });
});

describe('a .safetensors file', () => {
  test('contains an adapter, by handler or URL, and is replaced in one step', async () => {
    const adapted = applyLoRA(mlp().model, {rank: 2});
    const file = join(folder, 'sub', 'a.safetensors');
    for (const [seed, place] of [fileHandler(file), `file://${file}`].entries()) {
      stirFactors(adapted, seed);
      const {modelArtifactsInfo} = await saveAdapter(adapted, place, {format: 'safetensors', dtype: 'float32'});
      expect(modelArtifactsInfo.weightDataBytes).toBe(fs.statSync(file).size);
      expect(files()).toEqual(['sub', 'sub/a.safetensors']);
      const again = await loadAdapter(place);
      const expected = getAdapter(adapted);
      expect(again.config).toEqual(expected.config);
      for (const [name, tensor] of Object.entries(expected.tensors)) {
        expect(numbers(again.tensors[name]!)).toEqual(numbers(tensor));
      }
    }
  });

  test('does not hold a model, nor an adapter of another format', async () => {
    const {model} = mlp();
    const handler = fileHandler(join(folder, 'a.safetensors'));
    await expect(saveAdapter(applyLoRA(model), handler, {format: 'tfjs'})).rejects.toThrow('has that format');
    await expect(model.save(handler)).rejects.toThrow('can hold an adapter in the format safetensors');
    expect(files()).toEqual([]);
  });

  test('that is missing or damaged is refused', async () => {
    const file = join(folder, 'a.safetensors');
    await expect(loadAdapter(fileHandler(file))).rejects.toThrow('There is no file');
    fs.writeFileSync(file, 'not this');
    await expect(loadAdapter(fileHandler(file))).rejects.toThrow('not a whole safetensors file');
  });

  test('is the format of the weights of a JSON', async () => {
    const adapted = applyLoRA(mlp().model, {rank: 2});
    await saveAdapter(adapted, fileHandler(folder), {format: 'safetensors'});
    expect(files()).toEqual(['model.json', 'weights.bin']);
    fs.renameSync(join(folder, 'weights.bin'), join(folder, 'a.safetensors'));
    const again = await loadAdapter(fileHandler(join(folder, 'a.safetensors')));
    expect(again.config).toEqual(getAdapter(adapted).config);
  });
});
