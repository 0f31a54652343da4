import {applyLoRA} from '../../../src/core/model/apply';
import {mergeLoRA, removeLoRA} from '../../../src/core/model/restore';
import {bytesIn, manifold, peakOf} from '../../memory';
import {factorsOf, stir, stirFactors} from '../../models';

// 2 % of the base are for what is made for a moment.
test('adapting takes the memory of the factors, and none for the weights that are shared', () => {
  const base = manifold();
  stir(base);
  const ofBase = bytesIn(base.weights);
  let adapted = base;
  const peak = peakOf(() => (adapted = applyLoRA(base, {rank: 2, targets: 'all'})));
  expect(factorsOf(adapted).length).toBeGreaterThan(10);
  expect(peak).toBeLessThan(bytesIn(factorsOf(adapted)) + 0.02 * ofBase);
});

test('a layer that trains in full takes no memory before it trains', () => {
  const base = manifold();
  const ofBase = bytesIn(base.weights);
  let adapted = base;
  const peak = peakOf(() => (adapted = applyLoRA(base, {rank: 2, targets: ['inner/wide'], trainInFull: ['out']})));
  expect(peak).toBeLessThan(bytesIn(factorsOf(adapted)) + 0.02 * ofBase);
});

test('merging makes the kernels that change, one after the other, and no others', () => {
  const base = manifold();
  const adapted = applyLoRA(base, {rank: 2, targets: ['inner/wide', 'inner/narrow', 'shared']});
  stirFactors(adapted);
  const peak = peakOf(() => mergeLoRA(adapted));
  const kernels = 4 * (32 * 64 + 64 * 32 + 32 * 32);
  // An update is as large as its kernel; the scaled one is another such tensor.
  expect(peak).toBeLessThanOrEqual(kernels + 2 * 4 * 32 * 64);
});

test('removing an adapter takes no memory', () => {
  const base = manifold();
  const adapted = applyLoRA(base, {rank: 2, targets: 'all'});
  const peak = peakOf(() => removeLoRA(adapted));
  expect(peak).toBeLessThan(0.02 * bytesIn(base.weights));
});
