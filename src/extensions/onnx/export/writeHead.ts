import type * as tf from '@tensorflow/tfjs';
import {throwFaults, unsupportedError} from '../../../platform/errors';
import {QuantizedDense} from '../../quantized/layers/quantizedDense';
import type {GraphPlan} from '../../graph/import/values';
import type {OnnxModel} from '../file/readOnnx';
import type {OnnxGraphModel} from '../import/onnxGraph';
import {isWritten} from '../layers/layers';
import {writeNewLayers} from '../layers/newLayers';
import {type Lowering, range} from '../lower/lowering';
import {GraphWriter, Tensor} from '../write/graphWriter';
import {TYPE} from '../write/messages';

/** A file as it was planned. */
export interface Planned {
  plan: GraphPlan;
  lowering: Lowering;
  graph: OnnxGraphModel;
}

/** New layers of a model as nodes of its file. */
export interface NewHead {
  out: GraphWriter;
  /** The outputs of the model, by the names of their values. */
  outputs: {value: string; layer: string; shape: tf.Shape; isNew: boolean}[];
}

/** The layers of heads that every opset supports. Other layers need this opset. */
const OF_ALL =
  /^(?:Dense|Conv[123]D|(?:Global)?(?:Max|Average)Pooling.*|Flatten|.*Dropout.*|BatchNormalization|.*ReLU|Activation)$/;
const OPSET_OF_OTHERS = 13;

/**
 * Writes the layers of a model that are not of its file, as nodes; `undefined` if there are none.
 *
 * @throws LoRAError with a line for each layer that cannot be written.
 */
export function writeNewHead(model: tf.LayersModel, planned: Planned, file: OnnxModel): NewHead | undefined {
  const {plan, graph} = planned;
  const values = lastValues(planned, file);
  const opset = graph.opsets.get('') ?? 1;
  const {nodes, initializers, inputs} = file.graph;
  const taken = [...nodes.flatMap(({name, outputs}) => [name, ...outputs]), ...initializers.keys()];
  const out = new GraphWriter(opset, new Set([...taken, ...inputs.map(({name}) => name)]));
  const {written, fresh} = writeNewLayers(out, model, {
    plan,
    valueAt: (key, tensor) => {
      const value = values.get(key);
      return value && heldTensor(tensor, value);
    },
    isPlanned: isOfFile,
    faultOf: layer =>
      opset < OPSET_OF_OTHERS && isWritten(layer) && !OF_ALL.test(layer.getClassName())
        ? `The class ${layer.getClassName()} needs opset ${OPSET_OF_OTHERS}, and the file has ${opset}.`
        : undefined,
  });
  throwFaults([...out.faults], 'ERR_UNSUPPORTED', 'The model cannot be written into the file:');
  if (fresh.size === 0) {
    return undefined;
  }
  if ([...initializers.values()].some(({type}) => OTHER_FLOATS.has(type))) {
    throw unsupportedError(
      'The file computes in float16, bfloat16 or double, and new layers can only be written in float32.',
    );
  }
  const outputs = model.outputs.map(output => {
    const {sourceLayer, shape} = output;
    const tensor = written.get(output);
    if (tensor === undefined) {
      throw unsupportedError(`Output "${sourceLayer.name}" of the model is not a value of the file.`);
    }
    return {value: out.plain(tensor), layer: sourceLayer.name, shape, isNew: fresh.has(output)};
  });
  return {out, outputs};
}

/** Whether a layer is one of the file. A quantized one is a `Dense` once it is merged. */
function isOfFile(layer: tf.layers.Layer, planned: tf.layers.Layer | undefined): boolean {
  const [className, before] = [layer.getClassName(), planned?.getClassName()];
  const isMerged = className === 'Dense' && before === QuantizedDense.className;
  return className === before || (isMerged && layer.getConfig().units === planned?.getConfig().units);
}

const OTHER_FLOATS: ReadonlySet<number> = new Set([10, 11, 16]);

/** A value of a file, and how the plan holds it. */
interface HeldValue {
  name: string;
  perm: readonly number[];
}

function heldTensor({shape}: tf.SymbolicTensor, {name, perm}: HeldValue): Tensor {
  // The plan's tensor has the axes of the value in the order `perm`.
  return new Tensor(
    shape,
    TYPE.float,
    name,
    range(shape.length).map(axis => perm.indexOf(axis)),
  );
}

/** Key of a flow → its last value in the file. Earlier values may lack the activation of a layer. */
function lastValues({lowering, graph}: Planned, {graph: {nodes, inputs}}: OnnxModel): Map<string, HeldValue> {
  const values = new Map<string, HeldValue>();
  for (const name of [...inputs.map(input => input.name), ...nodes.flatMap(({outputs}) => outputs)]) {
    const key = graph.keys.get(name);
    const value = key === undefined ? undefined : lowering.planner.valueOf(key);
    if (value?.kind === 'flow') {
      values.set(value.key, {name, perm: lowering.permOf(value, value.shapes[0].length)});
    }
  }
  return values;
}
