import * as tf from '@tensorflow/tfjs';
import type {LayerMatcher} from '../../../src/core/model/config';
import {applyLoRA} from '../../../src/core/model/apply';
import {disposeModel} from '../../../src/core/rewire/dispose';
import {mergeLoRA} from '../../../src/core/model/restore';
import {numbers, withoutLeaks} from '../../helpers';
import {baseWeights, factorsOf, predictions, reloaded, type Specimen, train} from '../../models';

/**
 * The tests that each kind of layer has to pass in a model that has two of it and a Dense, on the current backend.
 *
 * @param kernels how many weights of such a layer are updated.
 * @param targets what finds them, where `'all'` does not.
 */
export function testInAModel(
  className: string,
  makeModel: () => Specimen,
  kernels = 1,
  targets: 'all' | readonly LayerMatcher[] = 'all',
): void {
  const finder = targets === 'all' ? "'all'" : `naming ${targets.join(' and ')}`;
  test(`${finder} finds it; what is frozen stays, the rest trains, is saved, loaded, trained on and merged`, async () => {
    const {model, inputs} = makeModel();
    const before = baseWeights(model);
    const lora = applyLoRA(model, {targets, rank: 2, seed: 1});
    const kinds = lora.layers.map(layer => layer.getClassName());
    expect(kinds.filter(kind => kind === `tfjs-lora>${className}`)).toHaveLength(2);
    expect(predictions(lora, inputs)).toEqual(predictions(model, inputs));

    const starts = factorsOf(lora).map(weight => numbers(weight.read()));
    await train(lora, inputs);
    expect(baseWeights(lora)).toEqual(before);
    expect(factorsOf(lora)).toHaveLength(2 * (2 * kernels + 1));
    factorsOf(lora).forEach((weight, i) => {
      const moved = numbers(weight.read()).map((value, j) => Math.abs(value - starts[i]![j]!));
      expect(Math.max(...moved)).toBeGreaterThan(1e-4);
    });
    const trained = predictions(lora, inputs);
    expect(trained).not.toEqual(predictions(model, inputs));

    const again = await reloaded(lora);
    expect(predictions(again, inputs)).toEqual(trained);
    await train(again, inputs);
    expect(baseWeights(again)).toEqual(before);
    expect(predictions(again, inputs)).not.toEqual(trained);

    const merged = mergeLoRA(lora);
    expect(merged.layers.map(layer => layer.getClassName())).toEqual(model.layers.map(layer => layer.getClassName()));
    expect(predictions(merged, inputs)[0]).toBeAllClose(trained[0]!);
    expect(predictions(await reloaded(merged), inputs)).toEqual(predictions(merged, inputs));
  });

  test('leaks nothing from adapting to disposal', async () => {
    await withoutLeaks(async () => {
      const {model, inputs} = makeModel();
      const lora = applyLoRA(model, {targets, rank: 2});
      await train(lora, inputs);
      const merged = mergeLoRA(lora);
      [merged, lora, model].forEach(disposeModel);
      tf.dispose(inputs);
    });
  });
}
