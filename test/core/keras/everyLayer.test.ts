import * as tf from '@tensorflow/tfjs';
import {disposeModel, loadKerasModel} from 'tfjs-lora';
import {rowOf} from '../../../src/core/keras/layerTable';
import {numbers} from '../../helpers';
import {handlerOf} from './converted';
import {type KerasCase, kerasCases, sumsOf} from './kerasLayers';

beforeEach(() => jest.spyOn(console, 'warn').mockImplementation());

/** What is wrong with a case: it computes something else than Keras, or is refused without being named. */
async function refusalOf({artifacts, inputs, outputs}: KerasCase): Promise<string | undefined> {
  let model: tf.LayersModel;
  try {
    model = await loadKerasModel(handlerOf(artifacts));
  } catch (error) {
    const {message} = error as Error;
    expect(message).toMatch(/^The Keras model cannot be loaded:\n {2}"[^"]+" \(\w+\)/);

    return message.split('\n')[1]!.trim();
  }
  const given = inputs.map(({values, shape}) => tf.tensor(values, shape));
  const found = [model.predict(given)].flat();
  expect(found.map(({shape}) => shape)).toEqual(outputs.map(({shape}) => shape));
  found.forEach((tensor, i) => {
    const values = numbers(tensor);
    // Each number may be off by a hundred thousandth of the largest.
    const tolerance = 1e-5 * Math.sqrt(values.length) * Math.max(1, ...values.map(Math.abs));
    const sums = sumsOf(values).map((sum, j) => sum - outputs[i]!.sums[j]!);
    sums.forEach(difference => expect(Math.abs(difference)).toBeLessThan(tolerance));
  });
  const topology = JSON.stringify(model.toJSON(null, false));
  // tfjs puts weights that it loads under their constraints.
  if (topology.includes('tfjs-lora>') && !/_constraint":\{/.test(topology)) {
    const again = await saved(model);
    expect([again.predict(given)].flat().map(numbers)).toEqual(found.map(numbers));
    disposeModel(again);
  }
  tf.dispose([given, found]);
  disposeModel(model);
  return undefined;
}

/** A model as tfjs reads it from the file that it writes. */
async function saved(model: tf.LayersModel): Promise<tf.LayersModel> {
  let file: tf.io.ModelArtifacts = {};
  const save = (artifacts: tf.io.ModelArtifacts) => {
    file = artifacts;
    return Promise.resolve({modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON' as const}});
  };
  await model.save({save});
  return tf.loadLayersModel(handlerOf(file));
}

/** What is refused, of a class or a model and its settings. */
const REFUSED = [
  ...['AutoContrast', 'CategoryEncoding', 'ConvLSTM[13]D', 'Discretization', 'Equalization', 'Hashing'],
  ...['IntegerLookup', 'LocallyConnected[12]D', 'MelSpectrogram', 'RandomCrop', 'ReversibleEmbedding', 'Solarization'],
  'SpectralNormalization',
  '\\w+ activation=(celu|glu|hard_shrink|hard_tanh|log_sigmoid|soft_shrink|sparsemax|squareplus|tanh_shrink)$',
  '\\w+ kernel_regularizer=.*OrthogonalRegularizer',
  '\\w+ lora_rank=',
  'Concatenate axis=-2',
  'ConvLSTM2D unroll=True',
  'SeparableConv2D data_format=channels_first',
  'Conv3DTranspose output_padding=',
  'recurrent: (Bidirectional RNN|RNN of (cells with states|nested stacks))',
  'Flatten data_format=channels_first',
  'UpSampling2D interpolation=(area|bicubic|lanczos3)',
  'Resizing (interpolation=(area|bicubic)|antialias|pad_to_aspect_ratio)',
  'operation: (2 / x|x \\*\\* 2|x / \\(x \\+ 9\\)|x \\+ list)',
  'attention: GroupQueryAttention',
].map(pattern => new RegExp(`^${pattern}`));

/** Keras 3 writes masks into the graph of a model, as operations, or uses them where Keras 2 does not. */
const REFUSED_OF_KERAS_3 = /^mask: (?:Softmax|(?:Concatenate|Multiply) of two masks)/;

function isRefused({group, settings}: KerasCase, version: number): boolean {
  return (
    (version === 3 && REFUSED_OF_KERAS_3.test(group)) ||
    settings.some(setting => REFUSED.some(pattern => pattern.test(`${group} ${setting}`)))
  );
}

describe.each([2, 3] as const)('Keras %i', version => {
  test.each(kerasCases(version))('$name', async one => {
    const refusal = await refusalOf(one);
    expect(refusal === undefined ? 'computed' : 'refused').toBe(isRefused(one, version) ? 'refused' : 'computed');
  });
});

test('a layer of tfjs is computed as the table says, or not at all', () => {
  const {classNameMap} = tf.serialization.SerializationMap.getMap();
  const isStock = (name: string) => {
    const {prototype} = classNameMap[name]![0];
    return (
      prototype instanceof tf.layers.Layer &&
      !(prototype instanceof tf.LayersModel) &&
      !/lora|Fused|^(Frozen|Bias|Trained)Layer$/i.test(name)
    );
  };
  const others = Object.keys(classNameMap).filter(name => isStock(name) && rowOf(name) === undefined);
  expect(others.filter(name => !/Cells?$|^(Model|CategoryEncoding)$/.test(name)).sort()).toEqual([]);
});

test('a softmax over the last axis is the stock layer, and one over other axes is not', async () => {
  const cases = kerasCases(3).filter(({group}) => group === 'Softmax');
  const classes = await Promise.all(
    cases.map(async ({settings, artifacts}) => {
      const model = await loadKerasModel(handlerOf(artifacts));
      const classNames = model.layers.map(layer => layer.getClassName());
      disposeModel(model);
      return [settings.join(), classNames.at(-1)];
    }),
  );
  // A file that says nothing of the axis means the last one.
  const {artifacts} = cases.find(({settings}) => settings.join() === '')!;
  const text = JSON.stringify(artifacts.modelTopology);
  expect(text).toContain('"axis":-1');
  const modelTopology = JSON.parse(text.replace('"axis":-1', '"axis":null')) as object;
  const model = await loadKerasModel(handlerOf({...artifacts, modelTopology}));
  classes.push(['without an axis', model.layers.at(-1)!.getClassName()]);
  disposeModel(model);
  expect(Object.fromEntries(classes)).toEqual({
    'without an axis': 'Softmax',
    '': 'Softmax',
    'axis=1': 'tfjs-lora>KerasLayer',
    'axis=[2]': 'tfjs-lora>KerasLayer',
    'axis=[1, 2]': 'tfjs-lora>KerasLayer',
  });
});
