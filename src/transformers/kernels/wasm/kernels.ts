import * as tf from '@tensorflow/tfjs';
import type {GateKind, RowNormSettings, TransformerKernels} from '../transformer';
import {currentNative} from '../../../kernels/wasm/module/find';
import type {Native} from '../../../kernels/wasm/module/native';
import {attend, attendGradient} from './attention';
import {TRANSFORMER_BINARY} from './binary';
import type {TransformerFunctions} from './functions';

const GATE_CODES: Readonly<Record<GateKind, number>> = {gelu: 0, gelu_tanh: 1, silu: 2};

/** By the memory that they work in. */
const loaded = new WeakMap<Native, TransformerKernels | null>();

/** The kernels by our module, in the memory of the current backend; `undefined` where it cannot be loaded. */
export function nativeTransformer(): TransformerKernels | undefined {
  const native = currentNative();
  if (native === undefined) {
    return undefined;
  }
  let kernels = loaded.get(native);
  if (kernels === undefined) {
    const functions = native.add<TransformerFunctions>(TRANSFORMER_BINARY);
    kernels = functions === undefined ? null : kernelsBy(native, functions);
    loaded.set(native, kernels);
  }
  return kernels ?? undefined;
}

function kernelsBy(native: Native, functions: TransformerFunctions): TransformerKernels {
  const tensors = (infos: readonly tf.TensorInfo[]) => infos.map(info => tf.engine().makeTensorFromTensorInfo(info));
  const only = (info: tf.TensorInfo) => tf.engine().makeTensorFromTensorInfo(info);
  const rowsOf = ({shape, size}: tf.Tensor): [rows: number, width: number] => {
    const width = shape.at(-1) ?? 1;
    return [width === 0 ? 0 : size / width, width];
  };
  const settingsOf = ({centered, epsilon}: RowNormSettings): [number, number] => [centered ? 1 : 0, epsilon];
  return {
    addsBias: true,
    attention: (inputs, mask, settings) => only(attend(native, functions, inputs, mask, settings)),
    attentionGradient: (inputs, mask, dy, settings) => {
      const [dx, dk, dv, ofBias] = tensors(attendGradient(native, functions, inputs, mask, dy, settings));
      const all = [dx, dk, dv, ofBias && tf.div(ofBias, settings.scale)];
      return all.filter(gradient => gradient !== undefined);
    },
    crossEntropy: (logits, targets, ignored) => {
      const out = native.output([]);
      const numbers = tf.cast(targets, 'int32'); // all of them are classes or ignored
      functions.crossEntropy(...[logits, numbers, out].map(tensor => native.at(tensor)), ...rowsOf(logits), ignored);
      return only(out);
    },
    crossEntropyGradient: (logits, targets, dy, ignored) => {
      const out = native.output(logits.shape);
      const places = [logits, tf.cast(targets, 'int32'), dy, out].map(tensor => native.at(tensor));
      functions.crossEntropyGradient(...places, ...rowsOf(logits), ignored);
      return only(out);
    },
    gate: (x, up, kind) => {
      const out = native.output(x.shape);
      functions.gate(native.at(x), native.at(up), native.at(out), x.size, GATE_CODES[kind]);
      return only(out);
    },
    gateGradient: (x, up, dy, kind) => {
      const outs = [x, ...(up ? [up] : [])].map(({shape}) => native.output(shape));
      const [dx, du] = outs as [tf.TensorInfo, tf.TensorInfo | undefined];
      functions.gateGradient(...[x, up, dy, dx, du].map(tensor => native.at(tensor)), ...[x.size, GATE_CODES[kind]]);
      return tensors(outs);
    },
    normalizeRows: (x, residual, {gamma, beta}, settings) => {
      const out = native.output(x.shape);
      const sum = residual && native.output(x.shape);
      const places = [x, residual, gamma, beta, sum, out].map(tensor => native.at(tensor));
      functions.normalizeRows(...places, ...rowsOf(x), ...settingsOf(settings));
      return tensors([out, ...(sum ? [sum] : [])]);
    },
    normalizeRowsGradient: (x, gamma, dy, settings) => {
      const out = native.output(x.shape);
      const places = [x, gamma, dy, out].map(tensor => native.at(tensor));
      functions.normalizeRowsGradient(...places, ...rowsOf(x), ...settingsOf(settings));
      return only(out);
    },
    normalizeRowsWeights: (x, dy, settings) => {
      const [rows, width] = rowsOf(x);
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
      const [batch, places, width] = x.shape;
      const out = native.output(x.shape);
      functions.rotate(
        ...[x, cosines, sines, out].map(tensor => native.at(tensor)),
        ...[batch * places, places, heads, width / heads, cosines.shape[1] ?? 0, interleaved ? 1 : 0, back ? -1 : 1],
      );
      return only(out);
    },
  };
}
