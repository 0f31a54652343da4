import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import '../../../src/backends/backends';
import type {LoRALayerArgs} from '../../../src/core/layers/layerArgs';
import type {LoRALayer} from '../../../src/core/layers/loraLayer';
import {ACTIVATIONS, numbers, on} from '../../helpers';
import {stir, train} from '../../models';

/** A kind of convolution, over cases of its geometry. */
export interface ConvolutionKind<Case extends {activation: (typeof ACTIVATIONS)[number]}> {
  make: (args: LoRALayerArgs) => LoRALayer;
  cases: fc.Arbitrary<Case>;
  example: Case;
  /** Numbers of channels, with less of them in than out and the other way round. */
  shapes: Partial<Case>[];
  /** The stock layer. */
  base: (c: Case) => tf.layers.Layer;
  rankOf: (c: Case) => number;
  /** The adapted layer, built, with random weights and factors. */
  adapted: (c: Case) => LoRALayer;
  /** The stock layer with `W + s·A·B` for its kernel, in plain loops. */
  mergedByHand: (layer: LoRALayer, c: Case) => tf.layers.Layer;
  inputs: (c: Case) => tf.Tensor;
  /** Names of the stock layer's kernels. Default: `kernel`. */
  kernels?: string[];
}

/** The tests of what each kind of convolution computes, whatever its geometry, on a backend that is current. */
export function testConvolution<Case extends {activation: (typeof ACTIVATIONS)[number]}>(
  backend: string,
  {
    make,
    cases,
    example,
    shapes,
    base,
    rankOf,
    adapted,
    mergedByHand,
    inputs,
    kernels = ['kernel'],
  }: ConvolutionKind<Case>,
): void {
  test('computes what a stock layer with the merged kernel computes, and merges to it, whatever its geometry', () =>
    fc.assert(
      fc.asyncProperty(cases, async c => {
        const compute = (f: (layer: LoRALayer) => tf.layers.Layer) => () => {
          const y = f(adapted(c)).apply(inputs(c)) as tf.Tensor;
          return [y];
        };
        const expected = (
          await on(
            'cpu',
            compute(layer => mergedByHand(layer, c)),
          )
        )[0]!;
        const itself = compute(layer => layer);
        const merged = compute(layer => layer.mergeToOriginalLayer());
        expect((await on(backend, itself))[0]).toBeAllClose(expected);
        expect((await on(backend, merged))[0]).toBeAllClose(expected);
      }),
      {numRuns: 40},
    ));

  test('a new layer computes what its base computes, bit for bit, whatever its geometry', () => {
    fc.assert(
      fc.property(cases, c => {
        tf.tidy(() => {
          const model = tf.sequential({layers: [base(c)]});
          stir(model);
          const layer = make({layer: model.layers[0]!, rank: rankOf(c)});
          const x = inputs(c);
          const expected = model.predict(x) as tf.Tensor;
          const y = layer.apply(x) as tf.Tensor;
          expect(y.shape).toEqual(expected.shape);
          expect(numbers(y)).toEqual(numbers(expected));
        });
      }),
      {numRuns: 40},
    );
  });

  test.each(ACTIVATIONS)('merges exactly with the activation %s', activation => {
    for (const shape of shapes) {
      const c = {...example, ...shape, activation};
      const layer = adapted(c);
      const merged = layer.mergeToOriginalLayer();
      const x = inputs(c);
      const expected = numbers(mergedByHand(layer, c).apply(x) as tf.Tensor);
      expect(numbers(layer.apply(x) as tf.Tensor)).toBeAllClose(expected);
      expect(numbers(merged.apply(x) as tf.Tensor)).toBeAllClose(expected);
      expect(merged.getConfig()).toEqual({...layer.baseLayer.getConfig(), trainable: true});
    }
  });

  test('trains its base too if that is not frozen, and merges what it has become', async () => {
    const layer = make({layer: base(example), rank: 2, freezeBaseLayer: false});
    const model = tf.sequential({layers: [layer]});
    stir(model);
    const read = () => [...kernels, 'bias', 'lora_A', 'lora_B'].map(name => numbers(layer.tryGetParameter(name)!));
    const before = read();
    const x = inputs(example);
    await train(model, [x]);
    read().forEach((values, i) => expect(values).not.toEqual(before[i]));
    const merged = layer.mergeToOriginalLayer();
    expect(numbers(merged.apply(x) as tf.Tensor)).toBeAllClose(numbers(layer.apply(x) as tf.Tensor));
  });
}
