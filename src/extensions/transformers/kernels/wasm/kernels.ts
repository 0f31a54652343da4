import * as tf from '@tensorflow/tfjs';
import {computesScores} from '../scoreSettings';
import type {GateKind, RowKernels, RowNormSettings, TransformerKernels} from '../transformer';
import {currentNative} from '../../../../backends/wasm/module/find';
import {type AddedFunctions, BY_NUMBER, type Native} from '../../../../backends/wasm/module/native';
import {matMul} from '../../../../backends/wasm/module/products';
import {attend, attendGradient, attendOne} from './attention';
import {TRANSFORMER_BINARY} from './binary';
import type {TransformerFunctions} from './functions';

const GATE_CODES: Readonly<Record<GateKind, number>> = {gelu: 0, gelu_tanh: 1, silu: 2};

/** By wasm memory. */
const loaded = new WeakMap<Native, TransformerKernels | null>();

/** The kernels of our module, in the current backend's memory; `undefined` if it cannot be loaded. */
export function nativeTransformer(): TransformerKernels | undefined {
  const native = currentNative();
  if (native === undefined) {
    return undefined;
  }
  let kernels = loaded.get(native);
  if (kernels === undefined) {
    const added = native.add<TransformerFunctions>(TRANSFORMER_BINARY);
    kernels = added === undefined ? null : kernelsBy(native, added);
    loaded.set(native, kernels);
  }
  return kernels ?? undefined;
}

function settingsOf({centered, epsilon}: RowNormSettings): [centered: number, epsilon: number] {
  return [centered ? 1 : 0, epsilon];
}

function rowKernels(native: Native, added: AddedFunctions<TransformerFunctions>): RowKernels {
  const {functions} = added;
  return {
    at: tensor => native.at(tensor),
    copy: (from, to, count) => {
      native.copy(to, from, 4 * count);
    },
    add: (from, to, count) => {
      functions.addRows(from, to, 0, 1, count);
    },
    multiply: (x, matrix, {k, n}, y) => {
      matMul(native, {m: 1, k, n}, x, matrix, false, y);
    },
    gate: (x, up, y, count, kind) => {
      functions.gate(x, up, y, count, GATE_CODES[kind]);
    },
    normalize: (x, {gamma, beta}, {rows, width}, settings, y) => {
      functions.normalizeRows(x, 0, gamma, beta, 0, y, rows, width, ...settingsOf(settings));
    },
    rotate: (x, {cosines, sines}, {heads, size, interleaved}, y) => {
      const half = cosines.length;
      const [c = 0, s = 0] = native.reserve(4 * half, 4 * half);
      native.writeFloats(c, cosines);
      native.writeFloats(s, sines);
      functions.rotate(x, c, s, y, 1, 1, heads, size, half, interleaved ? 1 : 0, 1);
    },
    attend: (addresses, sizes, settings, y) => {
      attendOne(native, added, addresses, sizes, settings, y);
    },
  };
}

/** The cost of a gate, in multiplications for each value: an exponential and a division. */
const BY_GATE = 4 * BY_NUMBER;

function kernelsBy(native: Native, added: AddedFunctions<TransformerFunctions>): TransformerKernels {
  const {functions, beside} = added;
  /** Calls a function for some rows of tensors in each part, which begin at `addresses`; 0 is none. */
  const inParts = (
    [count, width]: readonly [rows: number, width: number],
    {unit = 1, cost = BY_NUMBER}: {unit?: number; cost?: number},
    addresses: readonly number[],
    call: (transformer: TransformerFunctions, addresses: number[], rows: number) => void,
  ) => {
    native.runParts(native.partsOf(count, unit, cost * count * width), (thread, {first, size}) => {
      const begin = addresses.map(address => (address === 0 ? 0 : address + 4 * first * width));
      call(beside(thread), begin, size);
    });
  };
  const tensors = (infos: readonly tf.TensorInfo[]) => infos.map(info => tf.engine().makeTensorFromTensorInfo(info));
  const only = (info: tf.TensorInfo) => tf.engine().makeTensorFromTensorInfo(info);
  const matrixSizes = ({shape, size}: tf.Tensor): [rows: number, width: number] => {
    const width = shape.at(-1) ?? 1;
    return [width === 0 ? 0 : size / width, width];
  };
  return {
    row: rowKernels(native, added),
    attention: (inputs, mask, settings) =>
      computesScores(settings, ['softCap']) ? only(attend(native, added, inputs, mask, settings)) : undefined,
    attentionGradient: (inputs, mask, dy, settings) => {
      if (!computesScores(settings, ['softCap'])) {
        return undefined;
      }
      const {dInputs, dBias, biasScale} = attendGradient(native, added, inputs, mask, dy, settings);
      const scaled = dBias && only(dBias);
      return {dInputs: tensors(dInputs), ...(scaled && {dBias: () => tf.div(scaled, biasScale)})};
    },
    crossEntropy: (logits, targets, ignored) => {
      const out = native.output([]);
      const numbers = tf.cast(targets, 'int32'); // all of them are classes or ignored
      functions.crossEntropy(
        ...[logits, numbers, out].map(tensor => native.at(tensor)),
        ...matrixSizes(logits),
        ignored,
      );
      return only(out);
    },
    crossEntropyGradient: (logits, targets, dy, ignored) => {
      const out = native.output(logits.shape);
      const addresses = [logits, tf.cast(targets, 'int32'), dy, out].map(tensor => native.at(tensor));
      functions.crossEntropyGradient(...addresses, ...matrixSizes(logits), ignored);
      return only(out);
    },
    gate: (x, up, kind) => {
      const out = native.output(x.shape);
      const addresses = [x, up, out].map(tensor => native.at(tensor));
      inParts([x.size, 1], {unit: 4, cost: BY_GATE}, addresses, (transformer, [from, by, to], count) => {
        transformer.gate(from as number, by as number, to as number, count, GATE_CODES[kind]);
      });
      return only(out);
    },
    gateGradient: (x, up, dy, kind) => {
      const outs = [x, ...(up ? [up] : [])].map(({shape}) => native.output(shape));
      const [dx, du] = outs as [tf.TensorInfo, tf.TensorInfo | undefined];
      const addresses = [x, up, dy, dx, du].map(tensor => native.at(tensor));
      inParts([x.size, 1], {unit: 4, cost: BY_GATE}, addresses, (transformer, begin, count) => {
        transformer.gateGradient(...begin, count, GATE_CODES[kind]);
      });
      return tensors(outs);
    },
    normalizeRows: (x, residual, {gamma, beta}, settings) => {
      const out = native.output(x.shape);
      const sum = residual && native.output(x.shape);
      const weights = [gamma, beta].map(tensor => native.at(tensor));
      const addresses = [x, residual, sum, out].map(tensor => native.at(tensor));
      inParts(matrixSizes(x), {}, addresses, (transformer, [from, also, total, to], rows) => {
        const width = matrixSizes(x)[1];
        transformer.normalizeRows(
          ...([from, also, ...weights, total, to] as number[]),
          ...[rows, width, ...settingsOf(settings)],
        );
      });
      return tensors([out, ...(sum ? [sum] : [])]);
    },
    normalizeRowsGradient: (x, gamma, dy, settings) => {
      const out = native.output(x.shape);
      const scale = native.at(gamma);
      const addresses = [x, dy, out].map(tensor => native.at(tensor));
      inParts(matrixSizes(x), {}, addresses, (transformer, [from, by, to], rows) => {
        transformer.normalizeRowsGradient(
          ...([from, scale, by, to] as number[]),
          ...[rows, matrixSizes(x)[1], ...settingsOf(settings)],
        );
      });
      return only(out);
    },
    normalizeRowsWeights: (x, dy, settings) => {
      const [rows, width] = matrixSizes(x);
      const out = native.output([width]);
      functions.normalizeRowsWeights(
        ...[x, dy, out].map(tensor => native.at(tensor)),
        rows,
        width,
        ...settingsOf(settings),
      );
      return only(out);
    },
    rotate: (x, {cosines, sines}, {heads, interleaved, back}) => {
      const [batch, positions, width] = x.shape;
      const [cycle, half = 0] = cosines.shape;
      const out = native.output(x.shape);
      const tables = [cosines, sines].map(tensor => native.at(tensor));
      const ends = [x, out].map(tensor => native.at(tensor));
      inParts([batch * positions, width], {unit: cycle}, ends, (transformer, [from, to], rows) => {
        transformer.rotate(
          ...([from, ...tables, to] as number[]),
          ...[rows, cycle, heads, width / heads, half, interleaved ? 1 : 0, back ? -1 : 1],
        );
      });
      return only(out);
    },
  };
}
