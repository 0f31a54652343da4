import type {ExternalPlace} from '../file/onnxTensor';
import {
  bytesIn,
  type Field,
  field,
  fieldHeader,
  fieldsOf,
  integerIn,
  joined,
  type Part,
  textIn,
} from '../file/protobuf';

/** The changes of a graph. */
export interface Changes {
  /** Name of an initializer → its new bytes. */
  readonly initializers?: ReadonlyMap<string, Part>;
  /** By the place of a `Constant`: the new bytes of its tensor. */
  readonly constants?: ReadonlyMap<number, Part>;
  /** New initializers, and in old files, where each initializer must also be an input, the inputs. */
  readonly added?: readonly NewTensor[];
  /** Position of a node → the names of its inputs. */
  readonly inputs?: ReadonlyMap<number, readonly string[]>;
  /** Position of a node → the nodes to add after it, and, if it stays, the new name of its output. */
  readonly replaced?: ReadonlyMap<number, Replacement>;
  /** The places of nodes, and the names of initializers, that are left out. */
  readonly dropped?: ReadonlySet<number>;
  readonly droppedTensors?: ReadonlySet<string>;
  /** New nodes, new inputs, and the outputs of the new graph, as messages. */
  readonly nodes?: readonly Uint8Array[];
  readonly newInputs?: readonly Uint8Array[][];
  readonly outputs?: readonly Uint8Array[][];
  /** Position of a node → the changes of the graphs in its attributes, by their names. */
  readonly inner?: ReadonlyMap<number, ReadonlyMap<string, Changes>>;
}

/** Nodes, as messages, in the place of one. */
export interface Replacement {
  output?: string;
  nodes: readonly Uint8Array[];
}

export interface NewTensor {
  name: string;
  /** The number of its type in ONNX. */
  type: number;
  shape: readonly number[];
  /** Its bytes, or which of those of another file it has. */
  bytes: Part | Required<ExternalPlace>;
}

/** From this version of the format on, an initializer need not be an input. */
const WITHOUT_INPUTS = 4;

/** A file with changes. All other bytes are copied as they are, so that unknown fields survive. */
export async function spliceOnnx(file: Uint8Array, changes: Changes): Promise<Uint8Array<ArrayBuffer>> {
  let version = 0;
  for (const source of fieldsOf(file)) {
    version = source.number === 1 ? integerIn(source) : version;
  }
  // Nothing is copied before this, because a file may be large.
  return joined(
    rewritten(file, source =>
      source.number === 7 ? nested(7, graphParts(bytesIn(source), changes, version < WITHOUT_INPUTS)) : undefined,
    ),
  );
}

/** The parts of a message with some fields replaced. */
function rewritten(message: Uint8Array, replace: (source: Field) => Part[] | undefined): Part[] {
  return [...fieldsOf(message)].flatMap(source => replace(source) ?? message.subarray(source.start, source.end));
}

/** A field, in parts. */
function nested(number: number, parts: readonly Part[]): Part[] {
  return [fieldHeader(number, parts), ...parts];
}

function graphParts(graph: Uint8Array, changes: Changes, areInputs: boolean): Part[] {
  const {initializers, constants, added = [], inputs, replaced, dropped, droppedTensors, outputs, inner} = changes;
  const {nodes = [], newInputs = []} = changes;
  let place = 0;
  const parts: Part[] = [];
  for (const source of fieldsOf(graph)) {
    const nodeBytes = graph.subarray(source.start, source.end);
    if (source.number === 1) {
      const names = inputs?.get(place);
      const value = constants?.get(place);
      const behind = replaced?.get(place);
      const graphs = inner?.get(place);
      const isDropped = dropped?.has(place) === true;
      place++;
      if (isDropped) {
        continue;
      }
      if (behind === undefined || behind.output !== undefined) {
        const isSame = names === undefined && behind === undefined;
        const next = isSame ? undefined : nodeWith(bytesIn(source), names, behind?.output);
        // A constant takes no inputs, and a node with graphs here keeps its own.
        const node =
          value !== undefined
            ? constantWith(bytesIn(source), value)
            : graphs === undefined
              ? next
              : withGraphs(bytesIn(source), graphs);
        parts.push(...(node === undefined ? [nodeBytes] : nested(1, node)));
      }
      parts.push(...(behind?.nodes ?? []));
    } else if (source.number === 5) {
      const name = nameIn(bytesIn(source), 8);
      const bytes = initializers?.get(name);
      if (droppedTensors?.has(name) === true && !areInputs) {
        continue;
      }
      parts.push(...(bytes === undefined ? [nodeBytes] : nested(5, tensorWith(bytesIn(source), bytes))));
    } else if (source.number !== 12 || outputs === undefined) {
      parts.push(nodeBytes);
    }
  }
  parts.push(...nodes, ...newInputs.map(input => field(11, input)), ...(outputs ?? []).map(end => field(12, end)));
  for (const {name, type, shape, bytes} of added) {
    const dims = shape.map(size => field(1, size));
    const data = 'location' in bytes ? externalFields(bytes) : nested(9, [bytes]);
    parts.push(...nested(5, [...dims, field(2, type), field(8, name), ...data]));
    if (areInputs) {
      const tensor = field(1, [
        field(1, type),
        field(
          2,
          dims.map(dim => field(1, dim)),
        ),
      ]);
      parts.push(field(11, [field(1, name), field(2, tensor)]));
    }
  }
  return parts;
}

/** The fields of a tensor whose values are in another file. */
function externalFields(place: Required<ExternalPlace>): Uint8Array[] {
  const entries = Object.entries(place).map(([key, value]) => field(13, [field(1, key), field(2, String(value))]));
  return [...entries, field(14, 1)];
}

/** A node with changes in the graphs of its attributes. */
function withGraphs(node: Uint8Array, graphs: ReadonlyMap<string, Changes>): Part[] {
  return rewritten(node, source => {
    const changes = source.number === 5 ? graphs.get(nameIn(bytesIn(source), 1)) : undefined;
    return changes && nested(5, withGraph(bytesIn(source), changes));
  });
}

function withGraph(attribute: Uint8Array, changes: Changes): Part[] {
  return rewritten(attribute, source =>
    source.number === 6 ? nested(6, graphParts(bytesIn(source), changes, false)) : undefined,
  );
}

/** The name of a message, which its field of this number holds. */
function nameIn(message: Uint8Array, number: number): string {
  let name = '';
  for (const source of fieldsOf(message)) {
    name = source.number === number ? textIn(source) : name;
  }
  return name;
}

function nodeWith(node: Uint8Array, names: readonly string[] | undefined, output: string | undefined): Part[] {
  let place = 0;
  return rewritten(node, source =>
    source.number === 1 && names !== undefined
      ? [field(1, names[place++] ?? '')]
      : source.number === 2 && output !== undefined
        ? [field(2, output)]
        : undefined,
  );
}

/** A `Constant` with a new tensor in its attribute. */
function constantWith(node: Uint8Array, bytes: Part): Part[] {
  const inTensor = (attribute: Uint8Array) =>
    rewritten(attribute, source => (source.number === 5 ? nested(5, tensorWith(bytesIn(source), bytes)) : undefined));
  return rewritten(node, source => (source.number === 5 ? nested(5, inTensor(bytesIn(source))) : undefined));
}

/** Fields of a tensor that hold its values, or say where they are. */
const VALUES = new Set([4, 5, 6, 7, 9, 10, 11, 13, 14]);

function tensorWith(tensor: Uint8Array, bytes: Part): Part[] {
  const metadataFields = [...fieldsOf(tensor)].filter(({number}) => !VALUES.has(number));
  return [...metadataFields.map(({start, end}) => tensor.subarray(start, end)), ...nested(9, [bytes])];
}
