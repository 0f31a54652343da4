import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import * as library from '../../../src/index';
import {LoRAError} from '../../../src/platform/errors';
import {adaptableClasses, loraClassOf, registerAdaptable} from '../../../src/core/layers/registry';
import {shortName} from '../../../src/platform/tfjs/configs';
import '../../customLayers';

const ROOT = join(__dirname, '../../..');
const PAGE = readFileSync(join(ROOT, 'docs/lora-layers.md'), 'utf8');
const ROWS = PAGE.split('\n').filter(line => line.startsWith('| `'));

const SOURCES = readdirSync(join(ROOT, 'src/core/layers')).map(name =>
  readFileSync(join(ROOT, 'src/core/layers', name), 'utf8'),
);

// What a kind of layer is made of, so that adding one is one file, one row, and its line in docs/lora-layers.md.
describe.each(adaptableClasses())('%s', name => {
  // A stand-in for a layer of Keras has no short name that files know.
  const {className, adaptation, weights} = (loraClassOf(name) ?? loraClassOf(`tfjs-lora>${name}`))!;
  const {baseClassName} = adaptation;

  test('is adapted by a class that is exported, and registered with tfjs', () => {
    const exported = (library as Record<string, unknown>)[shortName(className)] as typeof tf.layers.Layer;
    expect(tf.serialization.SerializationMap.getMap().classNameMap[className]![0]).toBe(exported);
    expect(shortName(baseClassName)).toBe(name);
    expect(className).toBe(weights === undefined ? `tfjs-lora>LoRA${name}` : 'tfjs-lora>LoRAWeights');
  });

  test('is adapted by a class that one file declares', () => {
    expect(SOURCES.filter(text => text.includes(`export class ${shortName(className)} extends `))).toHaveLength(1);
  });

  test('has its row in docs/lora-layers.md', () => {
    const names = [baseClassName, shortName(className)];
    const row = ROWS.filter(line => names.every(one => line.includes(`\`${one}\``)));
    expect(row).toHaveLength(1);
  });
});

describe('registerAdaptable', () => {
  test('makes a class adaptable, and again without harm if the weights are the same', () => {
    expect(loraClassOf('Pair')).toBeUndefined();
    const weights = ['gather', {name: 'spread', outAxes: 2}];
    registerAdaptable('Pair', {weights});
    expect(adaptableClasses()).toContain('Pair');
    expect(loraClassOf('Pair')!.weights).toEqual([
      {name: 'gather', outAxes: 1},
      {name: 'spread', outAxes: 2},
    ]);
    registerAdaptable('Pair', {weights: [...weights]});
    expect(adaptableClasses().filter(name => name === 'Pair')).toHaveLength(1);
  });

  test.each([
    ['Dense', {weights: ['kernel']}, 'Dense need not be registered: LoRADense adapts it.'],
    ['ConvLSTM2D', {weights: ['kernel']}, 'ConvLSTM2D need not be registered: LoRAWeights adapts it.'],
    ['Unheard', {weights: ['kernel']}, /no layer class "Unheard".*tf\.serialization\.registerClass\(Unheard\) first/],
    ['Mix', {weights: []}, 'weights must be a list'],
    ['Mix', {}, 'weights must be a list'],
    ['Pair', {weights: ['gather']}, /Pair is registered already, with other weights: .*spread.*, not .*gather/],
  ])('refuses %s with %j', (className, options, message) => {
    const register = () => registerAdaptable(className, options as {weights: string[]});
    expect(register).toThrow(LoRAError);
    expect(register).toThrow(message);
  });
});
