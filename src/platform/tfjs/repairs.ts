import type * as tf from '@tensorflow/tfjs';
import {misfitError} from '../errors';

/** Marks a backend that is repaired, shared by all copies of the library in a process. */
const BRAND = Symbol.for('tfjs-lora.repaired');

/** The private parts of tfjs's webgpu backend that are used here. */
interface Backend {
  [BRAND]?: true;
  readonly tensorMap: {get(dataId: tf.DataId): {values?: tf.backend_util.BackendValues | null}};
  readonly bufferManager: {acquireBuffer(bytes: number, ...usage: unknown[]): object};
  uploadToGPU(dataId: tf.DataId): void;
  disposeData(dataId: tf.DataId): boolean;
  runWebGPUProgram(program: Program, inputs: readonly tf.TensorInfo[], ...call: unknown[]): tf.TensorInfo;
}

interface Program {
  readonly outputShape: readonly number[];
  /** By this key tfjs finds the shader that it has compiled. */
  shaderKey: string;
  /** The shape that a gather reads: batches, outer axes, the gathered axis, inner axes. */
  readonly aShape?: readonly number[];
}

/** Mends what tfjs's webgpu backend computes wrongly without an error. */
export function repairWebGPU(backend: object): void {
  const repaired = backend as Backend;
  if (repaired[BRAND] !== true) {
    repaired[BRAND] = true;
    bindEmptyTensors(repaired);
    repairPrograms(repaired);
  }
}

/**
 * Gives empty tensors a buffer of 4 bytes. tfjs gives them one of 0 bytes, which WebGPU does not bind to a program: it
 * then drops all commands that were not submitted yet, so that other results are zeros or old values.
 */
function bindEmptyTensors(backend: Backend): void {
  const {bufferManager, tensorMap} = backend;
  const acquire = bufferManager.acquireBuffer.bind(bufferManager);
  bufferManager.acquireBuffer = (bytes, ...usage) => acquire(bytes === 0 ? 4 : bytes, ...usage);
  const upload = backend.uploadToGPU.bind(backend);
  backend.uploadToGPU = dataId => {
    const data = tensorMap.get(dataId);
    const {values} = data;
    upload(dataId);
    if (values?.length === 0) {
      data.values = values; // tfjs would read those of the buffer
    }
  };
}

/**
 * The shaders of cumulative sums and products contain the length of the axis, but their key does not. A gather along an
 * empty axis reads what is beyond the tensor, where cpu and wasm throw.
 */
function repairPrograms(backend: Backend): void {
  const run = backend.runWebGPUProgram.bind(backend);
  backend.runWebGPUProgram = (program, inputs, ...call) => {
    const {aShape, outputShape, shaderKey} = program;
    if (shaderKey.startsWith('cum_')) {
      program.shaderKey += `_${outputShape.at(-1)}`;
    }
    if (shaderKey === 'gather' && aShape?.[2] === 0 && !outputShape.includes(0)) {
      inputs.forEach(({dataId}) => backend.disposeData(dataId)); // the kernel's reshaped inputs
      throw misfitError('tf.gather cannot take indices along an axis of length 0.');
    }
    return run(program, inputs, ...call);
  };
}
