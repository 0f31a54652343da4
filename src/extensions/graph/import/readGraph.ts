import * as tf from '@tensorflow/tfjs';
import {damagedError, disposedError, LoRAError, misfitError} from '../../../platform/errors';
import {type GraphNode, nodeAndOutput, shortName} from '../graphDef';
import {unrollLoops} from './unrollLoops';

/** The parts of a `tf.GraphModel`, from its public members. */
export interface ReadGraph {
  nodes: Map<string, GraphNode>;
  /** Its constants, which the graph owns. */
  weights: Map<string, tf.Tensor>;
  /** How many values are stored in the file. Default: those of `weights`. */
  stored?: number;
  /** The call that imports a part of it, in messages. Default: `fromGraphModel(graph`. */
  call?: string;
  artifacts: tf.io.ModelArtifacts;
  /** The inputs and outputs as nodes, in the order of the model, and their names in its signature. */
  inputs: GraphEnd[];
  outputs: GraphEnd[];
}

/** An input or an output of a graph. */
export interface GraphEnd {
  /** As in the graph: `Identity`, or `Identity:1`. */
  node: string;
  /** As in the signature. */
  key: string;
}

type Entries = Record<string, {name?: string} | undefined>;

/**
 * Reads a graph. Its tensors are not copied.
 *
 * @throws LoRAError if it is no `tf.GraphModel`, or was disposed.
 */
export async function readGraph(graph: unknown): Promise<ReadGraph> {
  if (!isSavableGraph(graph)) {
    throw new LoRAError(
      'The graph must be a tf.GraphModel, such as tf.loadGraphModel returns. Pass models of tf.loadLayersModel ' +
        'directly to applyLoRA.',
    );
  }
  const artifacts = await artifactsOf(graph);
  const topology = artifacts.modelTopology as {node?: GraphNode[]};
  const {node: nodes} = topology;
  if (!Array.isArray(nodes)) {
    throw damagedError('The graph has no nodes: its topology is not a GraphDef.');
  }
  const weights = new Map(
    Object.entries(graph.weights).flatMap(([name, [tensor]]) =>
      tensor === undefined ? [] : [[name, tensor] as const],
    ),
  );
  const disposed = [...weights].find(([, tensor]) => tensor.isDisposed);
  if (disposed !== undefined) {
    throw disposedError(`The graph was disposed of: its weight "${disposed[0]}" is gone. Load it again.`);
  }
  const list = await unrollLoops(nodes, weights);
  const signature = signatureOf(artifacts);
  // tfjs gives two outputs of one node the same name.
  const outputs = Object.keys(signature?.outputs ?? {});
  const ends = (keys: readonly string[], entries: Entries | undefined) =>
    keys.map(key => ({key, node: (entries && Object.hasOwn(entries, key) && entries[key]?.name) || key}));
  return {
    nodes: new Map(list.map(node => [node.name, node])),
    weights,
    artifacts: {...artifacts, modelTopology: {...topology, node: list}},
    inputs: ends(graph.inputNodes, signature?.inputs).map(({key, node}) => ({key, node: nodeAndOutput(node)[0]})),
    outputs: ends(outputs.length === graph.outputNodes.length ? outputs : graph.outputNodes, signature?.outputs),
  };
}

/** The signature in a file: the names of inputs and outputs, and their nodes. */
export function signatureOf({
  signature,
  userDefinedMetadata,
}: tf.io.ModelArtifacts): {inputs?: Entries; outputs?: Entries} | undefined {
  return userDefinedMetadata?.signature ?? signature;
}

/** Not by class, since a process can have two copies of tfjs. */
function isSavableGraph(value: unknown): value is tf.GraphModel {
  const {save, execute, inputNodes, weights} = (value ?? {}) as Partial<tf.GraphModel>;
  return (
    typeof save === 'function' &&
    typeof execute === 'function' &&
    Array.isArray(inputNodes) &&
    typeof weights === 'object'
  );
}

async function artifactsOf(graph: tf.GraphModel): Promise<tf.io.ModelArtifacts> {
  let artifacts: tf.io.ModelArtifacts | undefined;
  await graph.save({
    save: saved => {
      artifacts = saved;
      return Promise.resolve({modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON' as const}});
    },
  });
  return artifacts as unknown as tf.io.ModelArtifacts;
}

/**
 * Resolves the name of a node, and of one of its outputs: `dense/MatMul`, `StatefulPartitionedCall/dense/MatMul`,
 * `split:1`.
 *
 * @throws LoRAError if no node matches, or several do.
 */
export function findNode({nodes}: Pick<ReadGraph, 'nodes'>, name: string): string {
  const [node, output] = nodeAndOutput(name);
  const suffix = output === 0 ? '' : `:${output}`;
  if (nodes.has(node)) {
    return node + suffix;
  }
  const alike = [...nodes.keys()].filter(candidate => shortName(candidate) === node);
  if (alike.length === 1) {
    return (alike[0] as string) + suffix;
  }
  if (alike.length > 1) {
    throw misfitError(`"${name}" is the short name of several nodes: ${alike.map(quoted).join(', ')}.`);
  }
  const last = node.split('/').at(-1) ?? node;
  const near = [...nodes.keys()].filter(candidate => candidate.includes(last)).slice(0, 5);
  throw misfitError(
    `The graph has no node "${name}".` +
      (near.length > 0 ? ` It has ${near.map(quoted).join(', ')}.` : ` It has ${nodes.size} others.`),
  );
}

function quoted(name: string): string {
  return `"${name}"`;
}
