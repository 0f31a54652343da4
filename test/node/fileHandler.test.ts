import {spawnSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import fs from 'node:fs';
import {hostname} from 'node:os';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {fileHandler} from '../../src/index';
import {LoRAError} from '../../src/platform/errors';
import {loadAdapter, saveAdapter} from 'tfjs-lora';
import {written} from '../core/adapter/adapters';
import {useBackend} from '../helpers';
import {temporaryFolder} from '../temporaryFolder';

beforeAll(() => useBackend('cpu'));

let folder: string;
beforeEach(() => (folder = temporaryFolder()));

/** Everything under the test's folder, as sorted relative paths. */
const files = () =>
  fs
    .readdirSync(folder, {recursive: true, withFileTypes: true})
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();

const readJSON = (name: string) => JSON.parse(fs.readFileSync(join(folder, name), 'utf8')) as tf.io.ModelJSON;

/** An adapter as `saveAdapter` hands it over, with `values` as its only weight. */
const adapter = (values: number[], shape = [values.length]): tf.io.ModelArtifacts => ({
  modelTopology: {class_name: 'LoRAAdapter', config: {rank: values.length, targets: ['dense_1']}},
  format: 'lora-adapter',
  weightSpecs: [{name: 'dense_1/lora_A', shape, dtype: 'float32'}],
  weightData: new Float32Array(values).buffer,
  userDefinedMetadata: {note: 'grüße'},
});

/** Writes a JSON with this manifest, and these files beside it. */
function writeModel(
  manifest: unknown,
  shards: Record<string, number[]> = {},
  modelTopology: unknown = {class_name: 'LoRAAdapter'},
): tf.io.IOHandler {
  fs.writeFileSync(join(folder, 'model.json'), JSON.stringify({modelTopology, weightsManifest: manifest}));
  for (const [name, bytes] of Object.entries(shards)) {
    fs.mkdirSync(join(folder, name, '..'), {recursive: true});
    fs.writeFileSync(join(folder, name), Uint8Array.from(bytes));
  }
  return fileHandler(folder);
}

const float = (name: string, shape: number[]) => ({name, shape, dtype: 'float32'});

const load = async (handler: tf.io.IOHandler) => handler.load!();
const weightsOf = (artifacts: tf.io.ModelArtifacts) => Array.from(new Uint8Array(artifacts.weightData as ArrayBuffer));

describe('a round trip', () => {
  test('keeps the predictions of a stock model bit for bit', async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.conv2d({filters: 3, kernelSize: 3, activation: 'relu', inputShape: [6, 6, 2]}),
        tf.layers.flatten(),
        tf.layers.dense({units: 4, activation: 'softmax'}),
      ],
    });
    model.setUserDefinedMetadata({labels: ['a', 'b']});
    const x = tf.randomUniform([5, 6, 6, 2], -1, 1, 'float32', 7);
    const {modelArtifactsInfo} = await model.save(fileHandler(join(folder, 'deep', 'er')));
    const again = await tf.loadLayersModel(fileHandler(join(folder, 'deep', 'er')));

    expect(files()).toEqual(['deep/er/model.json', 'deep/er/weights.bin']);
    expect(modelArtifactsInfo.weightDataBytes).toBe(4 * model.countParams());
    expect((again.predict(x) as tf.Tensor).dataSync()).toEqual((model.predict(x) as tf.Tensor).dataSync());
    expect(again.getUserDefinedMetadata()).toEqual({labels: ['a', 'b']});
  });

  test('keeps the training configuration and the optimizer', async () => {
    const model = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [2]})]});
    model.compile({optimizer: tf.train.adam(0.125), loss: 'meanSquaredError'});
    await model.fit(tf.ones([4, 2]), tf.ones([4, 1]), {epochs: 1, verbose: 0});
    await model.save(fileHandler(folder), {includeOptimizer: true});
    const again = await tf.loadLayersModel(fileHandler(folder));
    expect(again.loss).toBe('meanSquaredError');
    expect(again.optimizer.getConfig()).toMatchObject({learningRate: 0.125});
  });

  test('keeps an adapter, which is an artifact of its own class', async () => {
    const saved = adapter([1, -2, 3.5]);
    const handler = fileHandler(join(folder, 'emoji.json'));
    await handler.save!(saved);
    const {weightData, ...rest} = await load(handler);
    expect(files()).toEqual(['emoji.json', 'emoji.weights.bin']);
    expect(rest).toEqual({
      modelTopology: saved.modelTopology,
      format: 'lora-adapter',
      weightSpecs: saved.weightSpecs,
      userDefinedMetadata: saved.userDefinedMetadata,
    });
    expect(weightData).toEqual(saved.weightData);
  });

  test('keeps quantized, string, boolean and scalar weights', async () => {
    const {data, specs} = await tf.io.encodeWeights({
      words: tf.tensor(['a', 'grüße', '']),
      flags: tf.tensor([true, false], [2], 'bool'),
      one: tf.scalar(3),
      none: tf.zeros([0, 4]),
    });
    const handler = fileHandler(join(folder, 'mixed.json'));
    await handler.save!({
      modelTopology: {class_name: 'Mixed'},
      weightSpecs: [
        ...specs,
        {
          name: 'q',
          shape: [3],
          dtype: 'float32',
          quantization: {dtype: 'uint8', scale: 0.5, min: -1},
        },
      ],
      weightData: [data, Uint8Array.from([0, 2, 4]).buffer],
    });
    const {weightData, weightSpecs} = await load(handler);
    const weights = tf.io.decodeWeights(weightData!, weightSpecs!);
    expect(weights.words!.arraySync()).toEqual(['a', 'grüße', '']);
    expect(weights.flags!.arraySync()).toEqual([1, 0]);
    expect(weights.one!.arraySync()).toBe(3);
    expect(weights.none!.shape).toEqual([0, 4]);
    expect(weights.q!.arraySync()).toEqual([-1, 0, 1]);
  });

  test('keeps a topology that has no weights', async () => {
    const model = tf.sequential({layers: [tf.layers.reLU({inputShape: [2]})]});
    await model.save(fileHandler(folder));
    // Not tf.loadLayersModel: in early versions of tfjs 4 it fails where a model has no weights.
    const {modelTopology, weightSpecs} = await load(fileHandler(folder));
    expect(weightSpecs).toEqual([]);
    const again = await tf.models.modelFromJSON(modelTopology as tf.io.ModelJSON);
    expect((again.predict(tf.tensor2d([[-1, 2]])) as tf.Tensor).arraySync()).toEqual([[0, 2]]);
  });
});

describe('the path', () => {
  test('several adapters fit in one folder', async () => {
    await fileHandler(join(folder, 'a.json')).save!(adapter([1]));
    await fileHandler(join(folder, 'b.json')).save!(adapter([2]));
    const a = await load(fileHandler(join(folder, 'a.json')));
    expect(a.weightData).toEqual(new Float32Array([1]).buffer);
    expect(files()).toEqual(['a.json', 'a.weights.bin', 'b.json', 'b.weights.bin']);
  });

  test('a folder and its model.json are the same model', async () => {
    await fileHandler(folder).save!(adapter([1]));
    await fileHandler(join(folder, 'model.json')).save!(adapter([2]));
    expect((await load(fileHandler(folder))).weightData).toEqual(new Float32Array([2]).buffer);
    expect(files()).toEqual(['model.json', 'weights.bin']);
  });

  test('may be a file URL', async () => {
    const odd = join(folder, 'a b#1?');
    await fileHandler(pathToFileURL(odd).href).save!(adapter([1]));
    await fileHandler(`file://${odd}`).save!(adapter([2]));
    expect(files()).toEqual(['a b#1?/model.json', 'a b#1?/weights.bin']);
    expect(readJSON('a b#1?/model.json').modelTopology).toMatchObject({config: {rank: 1}});
  });

  test('may be relative behind file://', async () => {
    const cwd = process.cwd();
    try {
      process.chdir(folder);
      await fileHandler('file://./out').save!(adapter([1]));
    } finally {
      process.chdir(cwd);
    }
    expect(files()).toEqual(['out/model.json', 'out/weights.bin']);
  });

  test.each(['', 'file://'])('is refused when it is %p', path => {
    expect(() => fileHandler(path)).toThrow('The path must be a string');
  });

  test('is refused when it is no valid URL', () => {
    expect(() => fileHandler('file:///100%/x')).toThrow('is not a valid file URL');
  });
});

describe('a load', () => {
  test('joins shards and groups in the order of the manifest', async () => {
    const artifacts = await load(
      writeModel(
        [
          {paths: ['one.bin', 'two.bin'], weights: [float('a', [1]), float('b', [])]},
          {paths: ['sub/three.bin'], weights: [float('c', [1])]},
        ],
        {'one.bin': [1, 2, 3], 'two.bin': [4, 5, 6, 7, 8], 'sub/three.bin': [9, 10, 11, 12]},
      ),
    );
    expect(artifacts.weightSpecs!.map(({name}) => name)).toEqual(['a', 'b', 'c']);
    expect(weightsOf(artifacts)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  test('reads a Keras JSON that states no format', async () => {
    const model = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3]})]});
    await model.save(fileHandler(folder));
    const {modelTopology, weightsManifest} = readJSON('model.json');
    writeModel(weightsManifest, {}, {keras_version: '2.2.4', model_config: modelTopology});
    const x = tf.ones([1, 3]);
    const again = await tf.loadLayersModel(fileHandler(folder));
    expect((again.predict(x) as tf.Tensor).dataSync()).toEqual((model.predict(x) as tf.Tensor).dataSync());
  });

  test('names the JSON that is missing', async () => {
    const file = join(folder, 'none', 'model.json');
    await expect(load(fileHandler(join(folder, 'none')))).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
      message: `There is no file ${file}. Check the path; it must be a saved model or adapter.`,
      cause: {code: 'ENOENT'},
    });
  });

  test('names the weights file that is missing', async () => {
    const handler = writeModel([{paths: ['gone.bin'], weights: []}]);
    await expect(load(handler)).rejects.toThrow(
      `There is no file ${join(folder, 'gone.bin')}. ${join(folder, 'model.json')} names it: put the weights ` +
        'beside the JSON.',
    );
  });

  test('says when something else than a file is there', async () => {
    fs.mkdirSync(join(folder, 'x.json'));
    await expect(load(fileHandler(join(folder, 'x.json')))).rejects.toThrow(LoRAError);
    await expect(load(fileHandler(join(folder, 'x.json')))).rejects.toThrow('Cannot read');
  });

  test.each([
    ['{"modelTopology": ', 'is not valid JSON'],
    ['[]', 'has no "modelTopology"'],
    ['null', 'has no "modelTopology"'],
    ['{"class_name": "Model", "config": {}}', 'has no "modelTopology"'],
    ['{"modelTopology": {}, "weightsManifest": {}}', '"weightsManifest" is not a list'],
    ['{"modelTopology": {}, "weightsManifest": null}', '"weightsManifest" is not a list'],
    ['{"modelTopology": {}, "weightsManifest": [{"paths": ["a"]}]}', 'is not a list'],
    [
      '{"modelTopology": {}, "weightsManifest": [{"paths": [], "weights": [{"name": "a", "shape": [-1], "dtype": ' +
        '"float32"}]}]}',
      'is not a list',
    ],
  ])('refuses %s', async (text, message) => {
    fs.writeFileSync(join(folder, 'model.json'), text);
    await expect(load(fileHandler(folder))).rejects.toThrow(LoRAError);
    await expect(load(fileHandler(folder))).rejects.toThrow(message);
  });

  test.each([
    ['too few', [1, 2, 3, 4, 5, 6, 7]],
    ['too many', [1, 2, 3, 4, 5, 6, 7, 8, 9]],
  ])('refuses weights of %s bytes', async (_, bytes) => {
    const handler = writeModel([{paths: ['w.bin'], weights: [float('a', [2, 1])]}], {
      'w.bin': bytes,
    });
    await expect(load(handler)).rejects.toThrow(`w.bin should have 8 bytes but has ${bytes.length}.`);
  });

  test.each([
    ['uint8', 3],
    ['uint16', 6],
    ['float16', 6],
  ])('counts %s weights as they are stored', async (dtype, count) => {
    const weights = [{...float('a', [3]), quantization: {dtype, scale: 1, min: 0}}];
    const bytes = Array.from({length: count}, (_, i) => i);
    const handler = writeModel([{paths: ['w.bin'], weights}], {'w.bin': bytes});
    expect(weightsOf(await load(handler))).toEqual(bytes);
    const short = writeModel([{paths: ['w.bin'], weights}], {'w.bin': bytes.slice(1)});
    await expect(load(short)).rejects.toThrow(`should have ${count} bytes`);
  });

  test.each([
    ['ends inside a length', [1, 0]],
    ['ends inside a string', [3, 0, 0, 0, 65]],
    ['goes on after the last string', [1, 0, 0, 0, 65, 66]],
  ])('refuses a string weight that %s', async (_, bytes) => {
    const weights = [{name: 's', shape: [1], dtype: 'string'}];
    const handler = writeModel([{paths: ['w.bin'], weights}], {'w.bin': bytes});
    await expect(load(handler)).rejects.toThrow('are damaged');
  });

  test('refuses a dtype that tfjs does not know', async () => {
    const weights = [{name: 'a', shape: [1], dtype: 'float64'}];
    const handler = writeModel([{paths: ['w.bin'], weights}], {'w.bin': [0]});
    await expect(load(handler)).rejects.toThrow('Weight "a" is stored as float64');
  });

  test('refuses weights of another save by their digest, which the JSON holds', async () => {
    await fileHandler(join(folder, 'a')).save!(adapter([1, 2]));
    await fileHandler(join(folder, 'b')).save!(adapter([3, 4]));
    fs.copyFileSync(join(folder, 'a', 'weights.bin'), join(folder, 'b', 'weights.bin'));
    await expect(load(fileHandler(join(folder, 'b')))).rejects.toThrow(LoRAError);
    await expect(load(fileHandler(join(folder, 'b')))).rejects.toThrow(
      'weights.bin does not hold what was saved together with model.json',
    );
  });

  test('refuses a file that is named twice, before it is read', async () => {
    const group = {paths: ['w.bin'], weights: [float('a', [1])]};
    const many = {paths: Array<string>(5000).fill('w.bin'), weights: [float('a', [5000])]};
    for (const manifest of [[group, {...group, weights: [float('b', [1])]}], [many]]) {
      const handler = writeModel(manifest, {'w.bin': [0, 0, 0, 0]});
      await expect(load(handler)).rejects.toThrow('it names the weights file "w.bin" twice');
    }
    fs.linkSync(join(folder, 'w.bin'), join(folder, 'same.bin'));
    const linked = writeModel([{paths: ['w.bin', './same.bin'], weights: [float('a', [2])]}]);
    await expect(load(linked)).rejects.toThrow('it names the weights file "./same.bin" twice');
  });

  test('compares sizes with what is on disk before it reads anything', async () => {
    const file = join(folder, 'w.bin');
    const handler = writeModel([{paths: ['w.bin'], weights: [float('a', [2])]}], {'w.bin': []});
    fs.truncateSync(file, 2 ** 40); // a file of holes: it takes no room on the disk, and none has the memory to read it
    await expect(load(handler)).rejects.toThrow(`should have 8 bytes but has ${2 ** 40}`);
    const huge = writeModel([{paths: ['small.bin'], weights: [float('a', [1e9, 1e9])]}], {'small.bin': [0]});
    await expect(load(huge)).rejects.toThrow('should have 4000000000000000000 bytes but has 1');
  });

  test('refuses strings that are not there, however many', async () => {
    for (const shape of [[1e9], [2 ** 53 - 1], [1e300]]) {
      const handler = writeModel([{paths: ['w.bin'], weights: [{name: 's', shape, dtype: 'string'}]}], {'w.bin': []});
      await expect(load(handler)).rejects.toThrow('are damaged');
    }
  });

  test('refuses what is no file, which might never end', async () => {
    spawnSync('mkfifo', [join(folder, 'pipe.bin')]);
    fs.mkdirSync(join(folder, 'sub.bin'));
    for (const name of ['pipe.bin', 'sub.bin']) {
      const handler = writeModel([{paths: [name], weights: []}]);
      await expect(load(handler)).rejects.toThrow('it is not a file');
    }
    spawnSync('mkfifo', [join(folder, 'pipe.safetensors'), join(folder, 'pipe.json')]);
    for (const name of ['pipe.safetensors', 'pipe.json']) {
      await expect(load(fileHandler(join(folder, name)))).rejects.toThrow('it is not a file');
    }
  });

  test('refuses links that lead out of its folder, and follows those that stay', async () => {
    const inside = join(folder, 'in');
    fs.mkdirSync(inside);
    fs.writeFileSync(join(folder, 'secret.bin'), Uint8Array.from([1, 2, 3, 4]));
    fs.symlinkSync(join(folder, 'secret.bin'), join(inside, 'w.bin'));
    fs.symlinkSync(folder, join(inside, 'up'));
    for (const path of ['w.bin', 'up/secret.bin']) {
      const manifest = [{paths: [path], weights: [float('a', [1])]}];
      fs.writeFileSync(join(inside, 'model.json'), JSON.stringify({modelTopology: {}, weightsManifest: manifest}));
      await expect(load(fileHandler(inside))).rejects.toThrow('which is not inside its own folder');
    }
    fs.mkdirSync(join(inside, 'sub'));
    fs.writeFileSync(join(inside, 'sub', 'v.bin'), Uint8Array.from([5, 6, 7, 8]));
    fs.symlinkSync(join('sub', 'v.bin'), join(inside, 'v.bin'));
    const manifest = [{paths: ['v.bin'], weights: [float('a', [1])]}];
    fs.writeFileSync(join(inside, 'model.json'), JSON.stringify({modelTopology: {}, weightsManifest: manifest}));
    expect(weightsOf(await load(fileHandler(inside)))).toEqual([5, 6, 7, 8]);
  });

  test('follows links of a cache, where the JSON is a link to the same place as its weights', async () => {
    writeModel([{paths: ['w.bin'], weights: [float('a', [1])]}], {'w.bin': [1, 2, 3, 4]});
    fs.mkdirSync(join(folder, 'blobs'));
    fs.mkdirSync(join(folder, 'snapshot'));
    for (const name of ['model.json', 'w.bin']) {
      fs.renameSync(join(folder, name), join(folder, 'blobs', name));
      fs.symlinkSync(join('..', 'blobs', name), join(folder, 'snapshot', name));
    }
    expect(weightsOf(await load(fileHandler(join(folder, 'snapshot'))))).toEqual([1, 2, 3, 4]);
  });

  test.each(['../w.bin', '/etc/hostname', 'sub/../../w.bin', '..', '.', ''])(
    'refuses weights outside its folder: %p',
    async path => {
      const handler = writeModel([{paths: [path], weights: []}]);
      await expect(load(handler)).rejects.toThrow('which is not inside its own folder');
    },
  );

  test('reads weights whose names merely begin with dots', async () => {
    const handler = writeModel([{paths: ['..w.bin'], weights: [float('a', [])]}], {
      '..w.bin': [1, 2, 3, 4],
    });
    expect(weightsOf(await load(handler))).toEqual([1, 2, 3, 4]);
  });
});

describe('a save', () => {
  test('replaces an earlier one', async () => {
    const handler = fileHandler(folder);
    await handler.save!(adapter([1, 2, 3]));
    await handler.save!(adapter([4, 5]));
    const {modelTopology, weightData} = await load(handler);
    expect(modelTopology).toMatchObject({config: {rank: 2}});
    expect(weightData).toEqual(new Float32Array([4, 5]).buffer);
    expect(readJSON('model.json').weightsManifest[0]).toEqual({
      paths: ['weights.bin'],
      weights: adapter([4, 5]).weightSpecs,
      sha256: createHash('sha256')
        .update(new Uint8Array(new Float32Array([4, 5]).buffer))
        .digest('hex'),
    });
    expect(files()).toEqual(['model.json', 'weights.bin']);
  });

  test('that fails in its first rename leaves the earlier one and no litter', async () => {
    const handler = fileHandler(folder);
    await handler.save!(adapter([1, 2]));
    jest.spyOn(fs, 'renameSync').mockImplementation(() => {
      throw new Error('the disk is gone');
    });
    await expect(handler.save!(adapter([3, 4]))).rejects.toThrow(
      `Cannot save ${join(folder, 'model.json')}: the disk is gone`,
    );
    expect((await load(handler)).weightData).toEqual(new Float32Array([1, 2]).buffer);
    expect(files()).toEqual(['model.json', 'weights.bin']);
  });

  test('that replaces one whose renames failed leaves nothing of that', async () => {
    const handler = fileHandler(folder);
    const {renameSync} = fs;
    const renamed: unknown[] = [];
    const spy = jest.spyOn(fs, 'renameSync').mockImplementation((from, to) => {
      if (renamed.push(to) === 2) {
        throw new Error('the disk is gone');
      }
      renameSync(from, to);
    });
    await handler.save!(adapter([1, 2]));
    spy.mockRestore();
    await handler.save!(adapter([3, 4]));
    expect(files()).toEqual(['model.json', 'weights.bin']);
    expect((await load(handler)).weightData).toEqual(new Float32Array([3, 4]).buffer);
  });

  test.each([2, 3])('that fails in rename %i is whole all the same, under another name for the weights', async nth => {
    const handler = fileHandler(folder);
    await handler.save!(adapter([1, 2]));
    const {renameSync} = fs;
    let count = 0;
    const spy = jest.spyOn(fs, 'renameSync').mockImplementation((from, to) => {
      if (++count === nth) {
        throw new Error('the disk is gone');
      }
      renameSync(from, to);
    });
    await handler.save!(adapter([3, 4]));
    spy.mockRestore();
    expect((await load(handler)).weightData).toEqual(new Float32Array([3, 4]).buffer);
    expect(files()).toHaveLength(3);
  });

  test('that cannot be written as JSON changes nothing', async () => {
    const handler = fileHandler(folder);
    await handler.save!(adapter([1]));
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    const wrong = {...adapter([2]), userDefinedMetadata: circular as never};
    await expect(handler.save!(wrong)).rejects.toThrow(LoRAError);
    expect((await load(handler)).weightData).toEqual(new Float32Array([1]).buffer);
    expect(files()).toEqual(['model.json', 'weights.bin']);
  });

  test('into a folder that is a file is refused', async () => {
    fs.writeFileSync(join(folder, 'taken'), '');
    const handler = fileHandler(join(folder, 'taken', 'x.json'));
    await expect(handler.save!(adapter([1]))).rejects.toThrow('Cannot save');
    expect(files()).toEqual(['taken']);
  });

  test('over a folder of that name is refused', async () => {
    fs.mkdirSync(join(folder, 'x.json'));
    await expect(fileHandler(join(folder, 'x.json')).save!(adapter([1]))).rejects.toThrow('Cannot save');
    expect(files()).toEqual([]);
  });

  test('refuses weights that do not match their specs', async () => {
    await expect(fileHandler(folder).save!(adapter([1, 2], [3]))).rejects.toThrow(
      'have 8 bytes, but their specs add up to 12.',
    );
    expect(files()).toEqual([]);
  });

  test.each([undefined, new ArrayBuffer(4)])('refuses the topology %p', async modelTopology => {
    await expect(fileHandler(folder).save!({modelTopology})).rejects.toThrow('a JSON topology');
  });

  test('that overlaps another never mixes the two', async () => {
    const handler = fileHandler(folder);
    await Promise.all([1, 2, 3, 4].map(n => handler.save!(adapter(Array<number>(n).fill(n)))));
    const {modelTopology, weightData} = await load(handler);
    const [n] = new Float32Array(weightData as ArrayBuffer);
    expect(modelTopology).toMatchObject({config: {rank: n}});
    expect(files()).toEqual(['model.json', 'weights.bin']);
  });
});

describe('what killed saves left', () => {
  const host = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);
  const uuid = '01234567-89ab-cdef-0123-456789abcdef';
  const gone = `${host}.${spawnSync('true').pid}.${uuid}`;
  const alive = `${host}.${process.pid}.${uuid}`;
  const elsewhere = `${host === '00000000' ? '11111111' : '00000000'}.1.${uuid}`;
  const put = (name: string, days = 0) => {
    fs.writeFileSync(join(folder, name), 'x');
    const time = Date.now() / 1000 - days * 24 * 60 * 60;
    fs.utimesSync(join(folder, name), time, time);
  };

  test.each([
    ['a.safetensors', 'a.safetensors'],
    ['a.json', 'a.weights.bin'],
    ['', 'weights.bin'],
  ])('is removed by the next save to %p if its writer is gone, and else left alone', async (path, base) => {
    const removed = [`${base}.${gone}.draft`, `${base}.${gone}.draft.link`, `${base}.lock.${gone}.draft`];
    const kept = [
      `${base}.${alive}.draft`,
      `${base}.${elsewhere}.draft.1.json`,
      `${base}.${uuid}`,
      `other.${base}.${gone}.draft`,
      `${base}.backup`,
    ];
    [...removed, ...kept].forEach(name => put(name));
    put(`${base}.${elsewhere}.draft`, 2);
    await saveAdapter(written({dense: {a: [[1]], b: [[2]]}}), fileHandler(join(folder, path)));
    const left = files();
    expect(left).toEqual(expect.arrayContaining(kept));
    expect(left).toHaveLength(kept.length + (path.endsWith('.safetensors') ? 1 : 2));
  });

  test('is kept if the JSON names it', async () => {
    // As a save leaves it that is killed right after the rename that counts.
    await fileHandler(folder).save!(adapter([1, 2]));
    const weights = `weights.bin.${gone}.draft`;
    fs.renameSync(join(folder, 'weights.bin'), join(folder, weights));
    const json = fs.readFileSync(join(folder, 'model.json'), 'utf8').replace('weights.bin', weights);
    fs.writeFileSync(join(folder, 'model.json'), json);
    expect((await load(fileHandler(folder))).weightData).toEqual(new Float32Array([1, 2]).buffer);
    await fileHandler(folder).save!(adapter([3, 4]));
    expect(files()).toEqual(['model.json', 'weights.bin']);
  });

  test('does not keep others from saving, if it is a lock', async () => {
    fs.writeFileSync(join(folder, 'weights.bin.lock'), gone);
    await fileHandler(folder).save!(adapter([1]));
    expect(files()).toEqual(['model.json', 'weights.bin']);
  });
});

describe('an adapter in each form on disk', () => {
  const saved = join(__dirname, '../fixtures/saved');
  const expected = JSON.parse(fs.readFileSync(join(saved, 'expected.json'), 'utf8')) as {
    config: unknown;
    tensors: Record<string, unknown>;
  };

  test.each(['folder', 'folder/model.json', 'adapter.json', 'adapter.safetensors', 'half.safetensors', 'carrier.json'])(
    'as %s is read, by path and by URL',
    async name => {
      for (const place of [fileHandler(join(saved, name)), `file://${join(saved, name)}`]) {
        const adapter = await loadAdapter(place);
        const {config, tensors} = adapter;
        const values = Object.entries(tensors).map(([key, tensor]) => [key, tensor.arraySync()] as const);
        expect({config, tensors: Object.fromEntries(values)}).toEqual(expected);
      }
    },
  );
});
