import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import {applyLoRA, disposeModel, exportPEFT, loadAdapter, registerAdaptable} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {depthwiseFromTorch, depthwiseToTorch, fromTorch} from '../../../src/core/peft/methods/torchLayout';
import {
  asDepthwise,
  depthwiseUpdateToTorch,
  fromTorchUpdate,
  type TfjsUpdate,
  type TorchUpdate,
  toTorchUpdate,
  withinRankLimit,
} from '../../../src/core/peft/methods/update';
import {encodeSafetensors, type NamedValues} from '../../../src/platform/formats/encodeSafetensors';
import {toTorch, transpose, type Values} from '../../../src/platform/formats/layout';
import {fixture} from '../../extensions/transformers/fixtures';
import {numbers, withoutLeaks} from '../../helpers';

/** Values of a shape that are all different, or random. */
function filled(shape: readonly number[], seed?: number): Values {
  const size = shape.reduce((product, axis) => product * axis, 1);
  return {
    shape,
    data: Float32Array.from({length: size}, (_, i) => (seed === undefined ? i : Math.sin(seed + 7.3 * i))),
  };
}

/** The number at an index, by the definition of a row-major layout. */
function at({shape, data}: Values, ...index: number[]): number {
  return data[index.reduce((offset, i, axis) => offset * shape[axis]! + i, 0)]!;
}

const strength = (rank: number) => ({rank, alpha: 3, rankStabilized: false});
const scaling = ({strength: {rank, alpha, rankStabilized}}: Pick<TfjsUpdate, 'strength'>) =>
  alpha / (rankStabilized ? Math.sqrt(rank) : rank);

/** `s·A·B` in plain loops, `[fan-in, out]`. */
function delta(update: TfjsUpdate): number[] {
  const [rank = 1, ...outAxes] = update.b.shape;
  const out = outAxes.reduce((product, axis) => product * axis, 1);
  const fanIn = update.a.data.length / rank;
  return Array.from({length: fanIn * out}, (_, i) => {
    let sum = 0;
    for (let k = 0; k < rank; k++) {
      sum += update.a.data[Math.floor(i / out) * rank + k]! * update.b.data[k * out + (i % out)]!;
    }
    return scaling(update) * sum;
  });
}

describe('layouts', () => {
  test('a transposed tensor has each number where its index says', () => {
    const values = filled([2, 3, 4, 5]);
    const permuted = transpose(values, [2, 3, 1, 0]);
    expect(permuted.shape).toEqual([4, 5, 3, 2]);
    fc.assert(
      fc.property(fc.nat(1), fc.nat(2), fc.nat(3), fc.nat(4), (a, b, c, d) => {
        expect(at(permuted, c, d, b, a)).toBe(at(values, a, b, c, d));
      }),
    );
  });

  test.each([[[3]], [[3, 4]], [[5, 3, 2]], [[5, 3, 2, 4]], [[5, 3, 2, 4, 2]]])(
    'a weight of shape %p has its space first in tfjs, and comes back',
    shape => {
      const values = filled(shape);
      const permuted = fromTorch(values);
      expect(permuted.shape).toEqual(shape.length === 1 ? shape : [...shape.slice(2), shape[1], shape[0]]);
      expect(toTorch(permuted)).toEqual(values);
    },
  );

  test('a depthwise kernel has its outputs by channel, and comes back', () => {
    const values = filled([6, 1, 3, 2]);
    const permuted = depthwiseFromTorch(values, 3);
    expect(permuted.shape).toEqual([3, 2, 3, 2]);
    expect(at(permuted, 2, 1, 1, 0)).toBe(at(values, 2, 0, 2, 1));
    expect(depthwiseToTorch(permuted)).toEqual(values);
  });
});

describe('an update', () => {
  test.each([
    ['Linear', [2, 5], [4, 2]],
    ['Conv1d', [2, 5, 3], [4, 2, 1]],
    ['Conv2d', [2, 5, 3, 2], [4, 2, 1, 1]],
    ['Conv3d', [2, 5, 3, 2, 2], [4, 2, 1, 1, 1]],
  ])('of a %s goes to tfjs and back', (_, a, b) => {
    const update: TorchUpdate = {embedding: false, a: filled(a, 1), b: filled(b, 2), strength: strength(2)};
    const permuted = fromTorchUpdate(update);
    expect(permuted.a.shape).toEqual([...a.slice(2), 5, 2]);
    expect(permuted.b.shape).toEqual([2, 4]);
    expect(toTorchUpdate(permuted)).toEqual({a: update.a, b: update.b});
  });

  test('of a grouped convolution becomes that of a full one, with nothing between the groups of B', () => {
    const b = filled([4, 3, 1, 1], 2);
    const {b: whole} = fromTorchUpdate({embedding: false, a: filled([6, 5, 2, 2], 1), b, strength: strength(6)});
    expect(whole.shape).toEqual([6, 4]);
    for (let k = 0; k < 6; k++) {
      for (let out = 0; out < 4; out++) {
        const same = Math.floor(k / 3) === Math.floor(out / 2);
        expect(at(whole, k, out)).toBe(same ? at(b, out, k % 3, 0, 0) : 0);
      }
    }
  });

  test.each([
    ['more inputs than outputs', [7, 9], [9, 3], 3],
    ['fewer inputs than outputs', [3, 9], [9, 7], 3],
    ['as many as the rank', [4, 4], [4, 4], 4],
  ])('with %s is withinLimit to what the weight can hold, without loss', (_, a, b, rank) => {
    for (const rankStabilized of [false, true]) {
      const update = {a: filled(a, 1), b: filled(b, 2), strength: {rank: b[0]!, alpha: 3, rankStabilized}};
      const small = withinRankLimit(update);
      expect([small.a.shape.at(-1), small.b.shape[0], small.strength.rank]).toEqual([rank, rank, rank]);
      expect(scaling(small)).toBeCloseTo(scaling(update), 12);
      expect(delta(small)).toBeAllClose(delta(update), {atol: 1e-6, rtol: 1e-6});
    }
  });

  test('that mixes channels is no update of a depthwise kernel', () => {
    const update = fromTorchUpdate({
      embedding: false,
      a: filled([6, 3, 2, 2], 1),
      b: filled([6, 2, 1, 1], 2),
      strength: strength(6),
    });
    expect(asDepthwise(update)).toBeUndefined();
    expect(asDepthwise({...update, b: filled([6, 4], 2)})).toBeUndefined();
  });

  test('of a depthwise kernel is the same after it was one of a grouped convolution', () => {
    const sizes = fc.record({
      kh: fc.integer({min: 1, max: 3}),
      kw: fc.integer({min: 1, max: 3}),
      channels: fc.integer({min: 1, max: 4}),
      multiplier: fc.integer({min: 1, max: 4}),
      rank: fc.integer({min: 1, max: 5}),
    });
    fc.assert(
      fc.property(sizes, ({kh, kw, channels, multiplier, rank}) => {
        const update = {
          a: filled([kh, kw, rank], 1),
          b: filled([rank, channels, multiplier], 2),
          strength: strength(rank),
        };
        const torch = depthwiseUpdateToTorch(update);
        const groupRank = Math.min(rank, multiplier);
        expect(torch.a.shape[0]).toBe(channels * groupRank);
        expect(torch.b.shape).toEqual([channels * multiplier, groupRank, 1, 1]);
        const again = asDepthwise(fromTorchUpdate(torch))!;
        expect(again.strength.rank).toBe(Math.min(kh * kw, channels * multiplier));
        expect(delta(again)).toBeAllClose(delta(update), {atol: 1e-5, rtol: 1e-5});
      }),
      {seed: 3},
    );
  });
});

// The bias by distance of Swin v2 is one layer here, of a kernel [2, 512] and one [512, 3]. In PyTorch it is a Sequential
// of two Linears, its modules 0 and 2.

const {config, weights} = fixture('swinV2AllLinear');
const LAYER = 'swinv2/encoder/layers/1/blocks/0/attention/self/continuous_position_bias_mlp';
const MODULE = LAYER.replaceAll('/', '.');
const WIDTHS = {0: [2, 512], 2: [512, 3]} as const;

/** Numbers without a pattern, which float32 holds exactly. */
function drawn(shape: number[], seed: number): {shape: number[]; data: Float32Array} {
  const size = shape.reduce((product, length) => product * length, 1);
  return {shape, data: Float32Array.from({length: size}, (_, i) => (((i + seed) * 37) % 64) / 64 - 0.5)};
}

/** Tensors of LoRA for one of the modules. */
function updateOf(module: 0 | 2, rank: number): Record<string, NamedValues> {
  const [inputs, outputs] = WIDTHS[module];
  return {
    [`base_model.model.${MODULE}.${module}.lora_A.weight`]: drawn([rank, inputs], module),
    [`base_model.model.${MODULE}.${module}.lora_B.weight`]: drawn([outputs, rank], module + 5),
  };
}

/** An adapter of PEFT with these tensors. */
function filesOf(tensors: Record<string, NamedValues>, fields: object = {}) {
  const settings = {peft_type: 'LORA', r: 3, lora_alpha: 6, target_modules: ['0', '2'], ...fields};
  return {config: JSON.stringify(settings), weights: encodeSafetensors(tensors)};
}

/** What `f` gives with the model. */
async function withModel<T>(f: (model: tf.LayersModel) => Promise<T>): Promise<T> {
  const {model} = await loadTransformer({config, weights});
  try {
    return await f(model);
  } finally {
    disposeModel(model);
  }
}

const imported = (tensors: Record<string, NamedValues>, fields: object = {}) =>
  withModel(model => loadAdapter(filesOf(tensors, fields), {model}));

test('two kernels that are modules in PyTorch are one update of their layer, each of the rank that it can hold', async () => {
  await withoutLeaks(async () => {
    const adapter = await imported({...updateOf(0, 3), ...updateOf(2, 3)});
    expect(adapter.config.layers[LAYER]).toMatchObject({
      className: 'ContinuousWindowBias',
      ...{rank: 3, alpha: 6},
      weights: [
        {name: 'kernel_0', outAxes: 1},
        {name: 'kernel_1', outAxes: 1},
      ],
    });
    tf.tidy(() => {
      for (const [module, kernel] of [[0, 'kernel_0'] as const, [2, 'kernel_1'] as const]) {
        const [a, b] = Object.values(updateOf(module, 3)).map(({shape, data}) =>
          tf.tensor2d(data as Float32Array, shape as [number, number]),
        );
        const [ofA, ofB] = ['lora_A', 'lora_B'].map(
          name => adapter.tensors[`${LAYER}/${kernel}/${name}`] as tf.Tensor2D,
        );
        expect(ofA!.shape[1]).toBe(module === 0 ? 2 : 3);
        expect(numbers(tf.matMul(ofA!, ofB!))).toBeAllClose(numbers(tf.transpose(tf.matMul(b!, a!))));
      }
    });
    adapter.dispose();
  });
});

test('they are written with the rank of each, and read again as they were', async () => {
  await withModel(async model => {
    const adapter = await loadAdapter(filesOf({...updateOf(0, 3), ...updateOf(2, 3)}, {use_rslora: true}), {model});
    const adapted = applyLoRA(model, adapter);
    const written = await exportPEFT(adapted);
    expect(written.config).toMatchObject({
      target_modules: [`${MODULE}.0`, `${MODULE}.2`],
      rank_pattern: {[`^${MODULE.replaceAll('.', String.raw`\.`)}\\.2`]: 3},
    });
    const again = await loadAdapter({config: JSON.stringify(written.config), weights: written.weights}, {model});
    expect(again.config.layers).toEqual(adapter.config.layers);
    const valuesOf = ({tensors}: typeof adapter) =>
      Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, numbers(tensor)]));
    expect(valuesOf(again)).toEqual(valuesOf(adapter));
    [again, adapter].forEach(each => each.dispose());
    disposeModel(adapted);
  });
});

test('one of them alone is an update of one kernel, also by the name that keyMap gives it', async () => {
  const adapter = await imported(updateOf(2, 3));
  expect(adapter.config.layers[LAYER]!.weights).toEqual([{name: 'kernel_1', outAxes: 1}]);
  expect(Object.keys(adapter.tensors).sort()).toEqual([`${LAYER}/lora_A`, `${LAYER}/lora_B`]);
  const renamed = Object.fromEntries(
    Object.entries(updateOf(2, 3)).map(([name, values]) => [name.replace(`${MODULE}.2`, 'bias'), values]),
  );
  const other = await withModel(model => loadAdapter(filesOf(renamed), {model, keyMap: {bias: `${LAYER}/2`}}));
  expect(other.config).toEqual(adapter.config);
});

test.each<[string, Record<string, NamedValues>, object, string]>([
  [
    'ranks that differ',
    {...updateOf(0, 1), ...updateOf(2, 3)},
    {rank_pattern: {'continuous_position_bias_mlp.0': 1}},
    'The modules 0 and 2 have different ranks or strengths, but are one layer here.',
  ],
  [
    'strengths that differ',
    {...updateOf(0, 3), ...updateOf(2, 3)},
    {alpha_pattern: {'continuous_position_bias_mlp.0': 1}},
    'The modules 0 and 2 have different ranks or strengths, but are one layer here.',
  ],
  [
    'a weight that trains in full',
    {...updateOf(0, 3), [`base_model.model.${MODULE}.2.weight`]: drawn([3, 512], 1)},
    {modules_to_save: ['continuous_position_bias_mlp.2']},
    'Only LoRA and DoRA of the weight alone are supported',
  ],
  [
    'a bias that trains',
    {...updateOf(0, 3), [`base_model.model.${MODULE}.0.base_layer.bias`]: drawn([512], 1)},
    {bias: 'lora_only'},
    'Only LoRA and DoRA of the weight alone are supported',
  ],
  [
    'a start of PiSSA',
    updateOf(0, 2),
    {init_lora_weights: 'pissa', r: 2},
    'Only LoRA and DoRA of the weight alone are supported',
  ],
  [
    'another shape',
    {
      [`base_model.model.${MODULE}.0.lora_A.weight`]: drawn([3, 4], 0),
      [`base_model.model.${MODULE}.0.lora_B.weight`]: drawn([512, 3], 0),
    },
    {},
    "The update is of a weight of shape [4, 512], but the layer's is [2, 512].",
  ],
])('an adapter that has for one of them %s is refused', async (_, tensors, fields, message) => {
  await withoutLeaks(() => expect(imported(tensors, fields)).rejects.toThrow(`${LAYER}: ${message}`));
});

test('an update by another method is not written for PEFT', async () => {
  registerAdaptable('tfjs-lora/transformers>ContinuousWindowBias', {weights: ['kernel_1']});
  await withModel(async model => {
    const adapted = applyLoRA(model, {rank: 2, method: 'loha', targets: [LAYER]});
    await expect(exportPEFT(adapted)).rejects.toThrow(
      `${LAYER}: PEFT has no updates of the class tfjs-lora/transformers>ContinuousWindowBias by the method loha.`,
    );
    disposeModel(adapted);
  });
});
