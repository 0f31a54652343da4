import * as tf from '@tensorflow/tfjs';
import {applyLoRA, importPEFT, mergeLoRA, removeLoRA} from '../../src';
import {BACKENDS, useBackend} from '../helpers';
import {predictions} from '../models';
import {expectedOf, KEY_MAP, largeNetwork, type Network, peftFiles, smallNetwork} from '../peftNetworks';

beforeEach(() => tf.engine().startScope());
afterEach(() => tf.engine().endScope());

const SMALL = ['lora', 'rslora', 'modules_to_save', 'bias_lora_only'];
/** Adapters of the larger network, and whether its depthwise convolution is one in tfjs. */
const MADE: [name: string, depthwise: boolean][] = [
  ['expression', true],
  ['allLinear', true],
  ['convolutions', true],
  ['transposed', true],
  ['embedding', true],
  ['biasAll', true],
  ['loraBias', true],
  ['loraBiasOnly', true],
  ['modulesToSave', true],
  ['grouped', false],
  ['depthwise', true],
  ['depthwise', false],
];

const CASES: [name: string, folder: string[], make: () => Network][] = [
  ...SMALL.map(name => [name, [name], smallNetwork] as [string, string[], () => Network]),
  ...MADE.map(([name, depthwise]) => {
    const title = `${name}${depthwise ? '' : ', as a full convolution'}`;
    return [title, ['made', name], () => largeNetwork(depthwise)] as [string, string[], () => Network];
  }),
];

const TOLERANCE = {atol: 1e-5, rtol: 0};

describe.each(BACKENDS)('on %s', backend => {
  beforeEach(() => useBackend(backend));

  test('the networks compute in tfjs what they compute in PyTorch', () => {
    for (const {model, inputs, y} of [smallNetwork(), largeNetwork(true), largeNetwork(false)]) {
      expect(predictions(model, inputs)[0]).toBeAllClose(y, TOLERANCE);
    }
  });

  test.each(CASES)('the adapter %s of PEFT gives its outputs and its merged weights', (_, folder, make) => {
    const {model, inputs, torchWeight} = make();
    const {y, y_merged: yMerged, merged: weights = {}} = expectedOf(...folder);
    const original = predictions(model, inputs);
    const adapter = importPEFT(peftFiles(...folder), model, {keyMap: KEY_MAP});
    const adapted = applyLoRA(model, adapter);
    expect(predictions(adapted, inputs)[0]).toBeAllClose(y.data, TOLERANCE);
    const merged = mergeLoRA(adapted);
    expect(predictions(merged, inputs)[0]).toBeAllClose((yMerged ?? y).data, TOLERANCE);
    for (const [name, {data}] of Object.entries(weights)) {
      expect(torchWeight(merged, name)).toBeAllClose(data, TOLERANCE);
    }
    expect(predictions(removeLoRA(adapted), inputs)).toEqual(original);
  });
});
