import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, exportPEFT, loadAdapter, registerAdaptable} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {encodeSafetensors, type NamedValues} from '../../../src/platform/formats/encodeSafetensors';
import {fixture} from '../../extensions/transformers/fixtures';
import {numbers, withoutLeaks} from '../../helpers';

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
