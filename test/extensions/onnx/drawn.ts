import * as tf from '@tensorflow/tfjs';
import {disposeModel} from '../../../src/index';
import {fromONNX} from '../../../src/onnx';
import {LoRAError} from '../../../src/platform/errors';
import {bytesOf, type OnnxCase} from './cases';

/** What became of a drawn file: equal, refused at import, or a fault, which says what is wrong. */
export type Outcome = {result: 'equal'} | {result: 'refused'; why: string} | {result: 'fault'; why: string};

/** Relative to the largest value. */
const CLOSE = 1e-5;

/** Imports a drawn file on the current backend, and compares what the model computes with ONNX Runtime. */
export async function compared(each: OnnxCase): Promise<Outcome> {
  let model: tf.LayersModel;
  try {
    model = await fromONNX(bytesOf(each));
  } catch (error) {
    const why = String(error);
    return error instanceof LoRAError ? {result: 'refused', why} : {result: 'fault', why};
  }
  const inputs = Object.values(each.inputs).map(({values, shape, dtype}) => tf.tensor(values, shape, dtype));
  let outputs: tf.Tensor[] = [];
  try {
    outputs = outputsOf(model, inputs);
    const faults = each.outputs.map((expected, i) => faultOf(outputs[i]!, expected)).filter(fault => fault !== '');
    return faults.length === 0 ? {result: 'equal'} : {result: 'fault', why: faults.join('; ')};
  } catch (error) {
    return {result: 'fault', why: `predict: ${String(error)}`};
  } finally {
    tf.dispose([inputs, outputs]);
    disposeModel(model);
  }
}

/** What a model gives. `predict` asks for as many rows in each input, and for at least one axis. */
function outputsOf(model: tf.LayersModel, inputs: tf.Tensor[]): tf.Tensor[] {
  const given = inputs.length === 1 ? inputs[0]! : inputs;
  const isBatch = new Set(inputs.map(({shape}) => shape[0])).size === 1 && inputs.every(({rank}) => rank > 0);
  return [isBatch ? model.predict(given) : (model.apply(given) as tf.Tensor | tf.Tensor[])].flat();
}

function faultOf(actual: tf.Tensor, {shape, dtype, values}: OnnxCase['outputs'][number]): string {
  if (actual.shape.join() !== shape.join() || actual.dtype !== dtype) {
    return `${actual.dtype} [${actual.shape.join()}] for ${dtype} [${shape.join()}]`;
  }
  const largest = Math.max(1, ...values.map(Math.abs));
  const found = Array.from(actual.dataSync());
  const at = found.findIndex((value, i) => !(Math.abs(value - values[i]!) <= CLOSE * largest));
  return at < 0 ? '' : `${found[at]} for ${values[at]} at ${at}`;
}
