import * as tf from '@tensorflow/tfjs';
import {disposeModel} from 'tfjs-lora';
import {styles, swap} from '../../examples/swap/story';
import {useBackend, withoutLeaks} from '../helpers';

describe('the example of swapping, run small,', () => {
  test('recognises digits of a style best under the adapter of that style, and leaks nothing', async () => {
    await useBackend('wasm');
    await withoutLeaks(async () => {
      const {base, adapters, table, mixed} = await swap({train: 60, test: 30, epochs: 10});
      expect(table.base!.plain).toBeGreaterThan(70);
      for (const style of styles) {
        const own = table[style]![style]!;
        expect(own).toBeGreaterThan(table.base![style]! + 20);
        styles
          .filter(other => other !== style)
          .forEach(other => expect(own).toBeGreaterThan(table[other]![style]! + 15));
      }
      // In a batch of all styles, each digit has its own adapter.
      const alone = (table.base!.plain! + styles.reduce((sum, style) => sum + table[style]![style]!, 0)) / 4;
      expect(Math.abs(mixed - alone)).toBeLessThan(15);
      expect(table['half rotated']!.plain).toBeGreaterThan(table.rotated!.plain!);
      disposeModel(base);
      tf.dispose(styles.flatMap(style => Object.values(adapters[style].tensors)));
    });
  }, 120_000);
});
