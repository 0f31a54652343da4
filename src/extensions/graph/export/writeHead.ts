import * as tf from '@tensorflow/tfjs';
import {unsupportedError} from '../../../platform/errors';
import {type GraphAttribute, type GraphNode, nodeAndOutput} from '../graphDef';
import {ACTIVATION_OPS} from '../import/tail';
import type {GraphPlan} from '../import/values';
import {callsOf} from '../../../core/rewire/walk';
import {fieldsOf} from '../../../platform/tfjs/fields';
import type {BatchNormLayer, ConvLayer, KernelLayer, PoolLayer, ReluLayer} from '../../../platform/tfjs/layerFields';
import type {GraphRewrite, NewEnd} from './graphRewrite';

/**
 * Writes the layers of a model that are not of its graph as nodes.
 *
 * @returns the outputs of the model if any of them is new, else an empty list.
 * @throws LoRAError if a layer cannot be written, or its input is not the output of a node.
 */
export function writeHead(model: tf.LayersModel, plan: GraphPlan, rewrite: GraphRewrite): NewEnd[] {
  const calls = new Map<string, string[][]>();
  for (const {layer, outputs} of plan.layers) {
    calls.set(layer.name, [...(calls.get(layer.name) ?? []), outputs]);
  }
  // Names of symbolic tensors in the graph; for new layers, also the nodes below them.
  const names = new Map<tf.SymbolicTensor, string | undefined>();
  const behind = new Map<tf.SymbolicTensor, string>();
  model.inputs.forEach(input => {
    const planned = plan.inputs.find(({name}) => name === input.sourceLayer.name);
    names.set(input, planned?.node);
  });
  for (const {outboundLayer: layer, inputTensors, outputTensors} of callsOf(model)) {
    const keys = calls.get(layer.name)?.shift();
    if (keys !== undefined) {
      outputTensors.forEach((tensor, i) => names.set(tensor, plan.ends.get(keys[i] ?? '')?.replace(/:0$/, '')));
      continue;
    }
    const [input] = inputTensors;
    const [output] = outputTensors;
    const name = input && names.get(input);
    if (input === undefined || output === undefined || name === undefined || inputTensors.length > 1) {
      throw unsupportedError(
        `Layer "${layer.name}" cannot be written as nodes: its input is not the output of a node in the graph.`,
      );
    }
    const {nodes, constants} = nodesOfLayer(layer, name, rewrite.freeName(layer.name));
    constants.forEach((tensor, constant) => {
      rewrite.addConstant(constant, tensor.dtype);
      rewrite.constants.set(constant, tensor);
    });
    nodes.forEach(node => rewrite.addNode(node));
    names.set(output, nodes.at(-1)?.name ?? name);
    behind.set(output, behind.get(input) ?? nodeAndOutput(name)[0]);
  }
  return model.outputs.some(output => behind.has(output))
    ? model.outputs.map(output => ({
        node: names.get(output) ?? '',
        layer: output.sourceLayer.name,
        shape: output.shape,
        behind: behind.get(output) ?? '',
      }))
    : [];
}

/** A layer as nodes of a graph, with their constants. The last node is its output. */
interface LayerNodes {
  nodes: GraphNode[];
  constants: Map<string, tf.Tensor>;
}

/** Writes a layer, called with the output of a node. */
type Writer = (layer: tf.layers.Layer, input: string, out: NodeWriter) => void;

const OPS: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(ACTIVATION_OPS).map(([op, activation]) => [activation, op]),
);

/** Collects the nodes of a layer. Their names begin with the layer's. */
class NodeWriter {
  readonly nodes: GraphNode[] = [];
  readonly constants = new Map<string, tf.Tensor>();
  readonly faults: string[] = [];

  constructor(readonly name: string) {}

  /** Adds a node. Returns its name. */
  node(op: string, input: readonly string[], attr: Record<string, GraphAttribute> = {}): string {
    const name = `${this.name}/${op}${this.nodes.some(node => node.op === op) ? `_${this.nodes.length}` : ''}`;
    this.nodes.push({name, op, input: [...input], attr: {T: {type: 'DT_FLOAT'}, ...attr}});
    return name;
  }

  /** Adds a constant. Returns its name. The caller disposes of it. */
  constant(suffix: string, tensor: tf.Tensor): string {
    const name = `${this.name}/${suffix}`;
    this.constants.set(name, tensor);
    return name;
  }

  /** Adds a bias, if there is one, and an activation. */
  finish(input: string, {bias, activation}: Pick<KernelLayer, 'bias' | 'activation'>): string {
    const biased = bias === null ? input : this.node('BiasAdd', [input, this.constant('bias', tf.clone(bias.read()))]);
    return this.activate(biased, activation.getClassName());
  }

  activate(input: string, activation: string): string {
    if (activation === 'linear') {
      return input;
    }
    const op = Object.hasOwn(OPS, activation) ? OPS[activation] : undefined;
    if (op === undefined) {
      this.faults.push(`The activation ${activation} is not one of ${Object.keys(OPS).join(', ')}.`);
      return input;
    }
    return this.node(op, [input]);
  }
}

const dense: Writer = (layer, input, out) => {
  const fields = fieldsOf<KernelLayer>(layer);
  const rank = inputShapeOf(layer).length;
  const kernel = out.constant('kernel', tf.clone(fields.kernel.read()));
  out.finish(out.node(rank === 2 ? 'MatMul' : 'BatchMatMulV2', [input, kernel]), fields);
};

const conv2d: Writer = (layer, input, out) => {
  const fields = fieldsOf<ConvLayer>(layer);
  if (fields.dataFormat !== 'channelsLast') {
    out.faults.push('The images are channels-first.');
  }
  const kernel = out.constant('kernel', tf.clone(fields.kernel.read()));
  const attributes = {
    strides: numbers(nhwc(fields.strides)),
    dilations: numbers(nhwc(fields.dilationRate)),
    padding: text(fields.padding.toUpperCase()),
    data_format: text('NHWC'),
  };
  out.finish(out.node('Conv2D', [input, kernel], attributes), fields);
};

function pool(op: string): Writer {
  return (layer, input, out) => {
    const {poolSize, strides, padding, dataFormat} = fieldsOf<PoolLayer>(layer);
    if (dataFormat !== 'channelsLast') {
      out.faults.push('The images are channels-first.');
    }
    out.node(op, [input], {
      ksize: numbers(nhwc(poolSize)),
      strides: numbers(nhwc(strides)),
      padding: text(padding.toUpperCase()),
      data_format: text('NHWC'),
    });
  };
}

function globalPool(op: string): Writer {
  return (layer, input, out) => {
    const {dataFormat} = fieldsOf<ConvLayer>(layer);
    const axes = dataFormat === 'channelsLast' ? [1, 2] : [2, 3];
    out.node(op, [input, out.constant('axes', tf.tensor1d(axes, 'int32'))], {
      keep_dims: {b: false},
      Tidx: {type: 'DT_INT32'},
    });
  };
}

const flatten: Writer = (layer, input, out) => {
  const sizes = inputShapeOf(layer).slice(1);
  if (sizes.includes(null)) {
    out.faults.push('The size of the input is unknown.');
  }
  const shape = tf.tensor1d([-1, tf.util.sizeFromShape(sizes as number[])], 'int32');
  out.node('Reshape', [input, out.constant('shape', shape)], {Tshape: {type: 'DT_INT32'}});
};

const batchNorm: Writer = (layer, input, out) => {
  const {axis, epsilon, ...weights} = fieldsOf<BatchNormLayer>(layer);
  const rank = inputShapeOf(layer).length;
  if ((axis < 0 ? axis + rank : axis) !== rank - 1) {
    out.faults.push(`The layer normalizes axis ${axis}, not the last one.`);
  }
  const [scale, shift] = tf.tidy((): [tf.Tensor, tf.Tensor] => {
    const mean = weights.movingMean.read();
    const deviation = tf.sqrt(tf.add(weights.movingVariance.read(), epsilon));
    const factor = tf.div(weights.gamma?.read() ?? tf.onesLike(mean), deviation);
    return [factor, tf.sub(weights.beta?.read() ?? tf.zerosLike(mean), tf.mul(mean, factor))];
  });
  const scaled = out.node('Mul', [input, out.constant('scale', scale)]);
  out.node('AddV2', [scaled, out.constant('shift', shift)]);
};

const activation: Writer = (layer, input, out) => {
  out.activate(input, fieldsOf<Pick<KernelLayer, 'activation'>>(layer).activation.getClassName());
};

const relu: Writer = (layer, input, out) => {
  const {maxValue} = fieldsOf<ReluLayer>(layer);
  if (maxValue == null) {
    out.node('Relu', [input]);
  } else {
    const bounds = [out.constant('low', tf.scalar(0)), out.constant('high', tf.scalar(maxValue))];
    out.node('ClipByValue', [input, ...bounds]);
  }
};

/** At inference, dropout is the identity. */
const identity: Writer = () => undefined;

const WRITERS: Readonly<Record<string, Writer>> = {
  Dense: dense,
  Conv2D: conv2d,
  MaxPooling2D: pool('MaxPool'),
  AveragePooling2D: pool('AvgPool'),
  GlobalAveragePooling2D: globalPool('Mean'),
  GlobalMaxPooling2D: globalPool('Max'),
  Flatten: flatten,
  Dropout: identity,
  BatchNormalization: batchNorm,
  Activation: activation,
  ReLU: relu,
  Softmax: (_, input, out) => void out.activate(input, 'softmax'),
};

/** Why a layer cannot be written as nodes, in whole sentences; `undefined` if its class can. */
export function reasonNotToWrite(layer: tf.layers.Layer): string | undefined {
  const className = layer.getClassName();
  return Object.hasOwn(WRITERS, className)
    ? undefined
    : `A ${className} cannot be written as nodes. Those that can: ${Object.keys(WRITERS).join(', ')}.`;
}

/**
 * Returns a layer as nodes.
 *
 * @param input the node output that it is called with.
 * @param name an unused name, with which the names of its nodes begin.
 * @throws LoRAError if it has a setting that no node has.
 */
function nodesOfLayer(layer: tf.layers.Layer, input: string, name: string): LayerNodes {
  const out = new NodeWriter(name);
  WRITERS[layer.getClassName()]?.(layer, input, out);
  if (out.faults.length > 0) {
    tf.dispose([...out.constants.values()]);
    throw unsupportedError(
      `Layer "${layer.name}" (${layer.getClassName()}) cannot be written as nodes. ${out.faults.join(' ')}`,
    );
  }
  return {nodes: out.nodes, constants: out.constants};
}

function inputShapeOf(layer: tf.layers.Layer): tf.Shape {
  return (layer.input as tf.SymbolicTensor).shape;
}

function nhwc([height = 1, width = 1]: readonly number[]): number[] {
  return [1, height, width, 1];
}

function numbers(list: readonly number[]): GraphAttribute {
  return {list: {i: list.map(String)}};
}

function text(value: string): GraphAttribute {
  return {s: btoa(value)};
}
