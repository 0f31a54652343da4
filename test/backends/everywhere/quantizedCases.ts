import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, type LoRAConfig, mergeLoRA, trainableVariables} from 'tfjs-lora';
import {quantizeBase} from 'tfjs-lora/quantized';
import {BINDING} from '../../../src/backends/webgpu/program';
import {withoutOwnCode} from '../../../src/backends/shared/tryOut';
import {type BlockMatrix, readRows, packedSize} from '../../../src/extensions/quantized/formats/blockMatrix';
import {type BlockFormatName, FORMAT_NAMES, formatNamed} from '../../../src/extensions/quantized/formats/formats';
import {quantizedKernels} from '../../../src/extensions/quantized/kernels/quantizedKernels';
import {formatTrials} from '../../../src/extensions/quantized/kernels/trial';
import {blockLookUp, multiply, multiplyBack} from '../../../src/extensions/quantized/ops/blockOps';
import {random} from '../../helpers';
import {asOnCpu, type Case, elsewhere, read, relativeDifference} from './case';

/** Token ids, rows and pixels. */
function network(): tf.LayersModel {
  const {layers} = tf;
  const ids = tf.input({shape: [6], dtype: 'int32', name: 'ids'});
  const looked = layers.embedding({inputDim: 40, outputDim: 64, name: 'table'}).apply(ids);
  const up = layers.dense({units: 96, activation: 'relu', name: 'up'}).apply(looked);
  const pixels = layers.reshape({targetShape: [2, 3, 96]}).apply(up);
  const mixed = layers.conv2d({filters: 40, kernelSize: 1, activation: 'tanh', name: 'mix'}).apply(pixels);
  const out = layers.dense({units: 33, name: 'out'}).apply(mixed);
  const model = tf.model({inputs: ids, outputs: out as tf.SymbolicTensor});
  model.setWeights(model.weights.map(({shape}, i) => random(shape as number[], 30 + i, 0.15)));
  return model;
}

/** Outputs of an adapted model, gradients of its factors, and the outputs of the merged one. */
export async function outcome(bits: 8 | 4, config: LoRAConfig, inFloats: boolean): Promise<number[][]> {
  const [model, ids] = [network(), tf.tensor2d([3, 1, 39, 0, 3, 7, 5, 5, 22, 38, 2, 1], [2, 6], 'int32')];
  const blocks = await quantizeBase(model, {bits});
  await formatTrials();
  // Merged with updates of nothing, its layers hold the numbers of the blocks in float32.
  const floats = inFloats ? mergeLoRA(applyLoRA(blocks, {rank: 1})) : undefined;
  const adapted = applyLoRA(floats ?? blocks, {...config, seed: 1});
  const variables = trainableVariables(adapted);
  const stir = (variable: tf.Variable, i: number) =>
    variable.assign(tf.add(variable, random(variable.shape, 7 + i, 0.2)));
  tf.tidy(() => variables.forEach(stir));
  const merged = mergeLoRA(adapted);
  const found = tf.tidy(() => {
    const run = (each: tf.LayersModel, training: boolean) => each.apply(ids, {training}) as tf.Tensor;
    const weights = random([2, 2, 3, 33], 99);
    const {grads} = tf.variableGrads(() => tf.sum<tf.Scalar>(tf.mul(run(adapted, true), weights)), variables);
    return [run(adapted, false), ...variables.map(({name}) => grads[name]!), run(merged, false)];
  });
  [model, blocks, floats, adapted, merged].forEach(each => each && disposeModel(each));
  ids.dispose();
  return read(found);
}

/** How quantized bases are adapted. */
export const CONFIGS: readonly [string, LoRAConfig][] = [
  ['lora', {rank: 3}],
  ['ia3', {method: 'ia3', exclude: ['table']}],
];

/** A matrix in blocks of bytes without a pattern, none of which makes a number that is not finite. */
function matrixOf(name: BlockFormatName, rows: number, width: number): {matrix: BlockMatrix; bytes: Uint8Array} {
  const matrix = {format: formatNamed(name)!, rows, width};
  const values = random([4 * packedSize(matrix)], rows).dataSync();
  return {matrix, bytes: Uint8Array.from(values, value => Math.floor(1e6 * Math.abs(value)) & 0xbf)};
}

const COUNTS = [1, 3, 40];
const LOOKED = [3, 0, 32, 3];

/** Products of one row, of a few and of many with a matrix, products back, and some of its rows; all in plain tfjs. */
export async function ofNumbers(name: BlockFormatName, rows: number, width: number): Promise<number[][]> {
  const {matrix, bytes} = matrixOf(name, rows, width);
  return read(
    tf.tidy(() => {
      const w = tf.tensor2d(readRows(matrix, bytes, 0, rows), [rows, width]);
      return [
        ...COUNTS.map(count => tf.matMul(random<tf.Rank.R2>([count, width], 1), w, false, true)),
        ...COUNTS.map(count => tf.matMul(random<tf.Rank.R2>([count, rows], 2), w)),
        tf.gather(w, LOOKED),
      ];
    }),
  );
}

/** The same by the operations with blocks. */
export async function ofBlocks(name: BlockFormatName, rows: number, width: number): Promise<number[][]> {
  const {matrix, bytes} = matrixOf(name, rows, width);
  quantizedKernels(matrix.format); // which are tried out from here on
  await formatTrials();
  return read(
    tf.tidy(() => {
      const blocks = tf.tensor1d(new Int32Array(bytes.buffer), 'int32');
      const looked = tf.tensor2d(LOOKED, [LOOKED.length, 1], 'int32');
      return [
        ...COUNTS.map(count => multiply(random<tf.Rank.R2>([count, width], 1), blocks, matrix)),
        ...COUNTS.map(count => multiplyBack(random<tf.Rank.R2>([count, rows], 2), blocks, matrix)),
        blockLookUp(blocks, matrix).forward(looked, blocks, null, 'linear'),
      ];
    }),
  );
}

/** Formats, and the sizes of matrices in them: more than a tile has, and rows that end in the middle of a block. */
export const MATRICES: readonly [BlockFormatName, rows: number, width: number][] = [
  ...FORMAT_NAMES.map(name => [name, 33, 512] as [BlockFormatName, number, number]),
  ['Q8_0', 37, 70],
  ['Q4_0', 37, 70],
  ['F16', 37, 7],
  // More than a row of a texture holds.
  ['Q4_0', 401, 512],
];

const formatCases = MATRICES.flatMap(([name, rows, width]): Case[] => {
  const kind = `${name}, ${rows} × ${width}`;
  return [
    {
      behaviour: 'products with a quantized matrix, and its rows, match dequantized weights on cpu',
      kind,
      tolerance: 1e-5,
      halfTolerance: null,
      run: asOnCpu(
        () => ofBlocks(name, rows, width),
        () => ofNumbers(name, rows, width),
      ),
    },
  ];
});

const baseCases = ([8, 4] as const).flatMap(bits =>
  CONFIGS.flatMap(([name, config]) =>
    [true, false].map((own): Case => ({
      behaviour: `a base of ${bits} bits with ${name} has the outputs and gradients of cpu`,
      kind: own ? 'a quantized model' : 'a quantized model without code of ours',
      tolerance: 2e-4,
      halfTolerance: 5e-2,
      run: asOnCpu(
        () => (own ? outcome(bits, config, false) : withoutOwnCode(() => outcome(bits, config, false))),
        () => outcome(bits, config, true),
      ),
    })),
  ),
);

/** How many formats are unpacked by tfjs's operations on a graphics card, which has programs for all. */
async function withoutPrograms(): Promise<number> {
  const formats = FORMAT_NAMES.map(name => formatNamed(name)!);
  formats.forEach(format => quantizedKernels(format));
  await formatTrials();
  return formats.filter(format => {
    const {matrix, bytes} = matrixOf(format.name, 1, 256);
    return tf.tidy(() => {
      const blocks = tf.tensor1d(new Int32Array(bytes.buffer), 'int32');
      return quantizedKernels(format)?.lookUp(tf.zeros([1, 1], 'int32'), blocks, matrix) === undefined;
    });
  }).length;
}

/** What a card may hold of a matrix in blocks, relative to its bytes. */
const MOST: Readonly<Record<string, number>> = {webgpu: 1.05, webgl: 1.4};

/** By how much a card holds more of a matrix in blocks than it may, or anything of one that is gone. */
async function excess(backend: string): Promise<number> {
  const most = MOST[backend];
  if (most === undefined) {
    return 0;
  }
  const {matrix, bytes} = matrixOf('Q8_0', 401, 512);
  quantizedKernels(matrix.format); // which are tried out from here on
  await formatTrials();
  const held = () => (tf.memory() as unknown as {numBytesInGPU: number}).numBytesInGPU;
  await read([tf.neg(tf.ones([2]))]); // webgpu frees what was disposed when it is next asked for numbers
  const before = held();
  const blocks = tf.tensor1d(new Int32Array(bytes.buffer), 'int32');
  await read([tf.tidy(() => multiply(tf.ones([2, 512]), blocks, matrix))]);
  const during = held() - before;
  blocks.dispose();
  return Math.max(0, during - most * bytes.length) + Math.abs(held() - before) + (during < bytes.length ? 1 : 0);
}

/** Runs `f` with programs that read no more than so many bytes of a tensor. */
async function withBinding<T>(most: number, f: () => Promise<T>): Promise<T> {
  const former = BINDING.most;
  BINDING.most = most;
  try {
    return await f();
  } finally {
    BINDING.most = former;
  }
}

/** What quantized bases have to do on every backend. */
export const quantizedCases: readonly Case[] = [
  ...baseCases,
  ...formatCases,
  {
    behaviour: 'fused programs dequantize on webgpu and webgl',
    tolerance: 0,
    halfTolerance: null,
    run: async backend => (backend.startsWith('webg') ? withoutPrograms() : 0),
  },
  {
    behaviour: 'a quantized matrix takes its bytes on webgpu, a float for three on webgl, and nothing once freed',
    tolerance: 0,
    halfTolerance: null,
    run: excess,
  },
  ...(['Q4_0', 'Q6_K'] as const).map((name): Case => ({
    behaviour: 'a quantized matrix larger than a storage buffer is computed in parts',
    kind: name,
    tolerance: 1e-5,
    halfTolerance: null,
    run: async backend =>
      backend === 'webgpu'
        ? relativeDifference(
            // Nine parts, of which a program reads six.
            await withBinding(4 * (name === 'Q4_0' ? 288 : 420), () => ofBlocks(name, 33, 512)),
            await elsewhere('cpu', () => ofNumbers(name, 33, 512)),
          )
        : 0,
  })),
  {
    behaviour: 'a base of matrices larger than a storage buffer has the outputs and gradients of cpu',
    tolerance: 2e-4,
    halfTolerance: null,
    run: async backend =>
      backend === 'webgpu'
        ? relativeDifference(
            await withBinding(2000, () => outcome(8, {rank: 3}, false)),
            await elsewhere('cpu', () => outcome(8, {rank: 3}, true)),
          )
        : 0,
  },
  {
    behaviour: 'the parts of a quantized matrix larger than a storage buffer are freed with it',
    tolerance: 0,
    halfTolerance: null,
    run: backend => (backend === 'webgpu' ? withBinding(2 ** 16, () => excess(backend)) : Promise.resolve(0)),
  },
];
