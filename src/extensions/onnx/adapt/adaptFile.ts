import {misfitError, unsupportedError} from '../../../platform/errors';
import {concatenate} from '../../../platform/formats/byteReader';
import {checkNumbers, type FiniteOptions, writeNumbers} from '../../../platform/formats/numbers';
import {throwIfAborted} from '../../../platform/signals';
import type {Adapter} from '../../../core/adapter/adapter';
import type {PEFTSource} from '../../../core/peft/readPeft';
import {type Changes, type NewTensor, type Replacement, spliceOnnx} from '../export/spliceOnnx';
import {updateBeside} from '../export/updateBeside';
import {usesOf} from '../export/uses';
import {bytesAt, type ONNXSource} from '../file/onnxSource';
import {openOnnx, type OnnxModel, readGraphProto, type OnnxNode} from '../file/readOnnx';
import {GraphWriter} from '../write/graphWriter';
import {TYPE, valueMessage} from '../write/messages';
import type {AdaptedONNX, AdapterInput, AdaptONNXOptions} from './adapted';
import {type FileModule, matchModules} from './matchModules';
import {type ModuleUpdate, moduleUpdates} from './moduleUpdates';
import {type BranchStep, productsOf} from './products';

/** Protocol buffers are no larger. */
const MAX_BYTES = 2 ** 31 - 1;

/** Puts an adapter beside the products of a file, as `adaptONNX` does. The options are checked. */
export async function adaptFile(
  source: ONNXSource,
  adapter: Adapter | PEFTSource,
  {mode = 'inputs', dataFile = 'adapter.onnx_data', prefix, ...options}: AdaptONNXOptions,
): Promise<AdaptedONNX> {
  const {signal, maxBytes} = options;
  const limits = {...(signal && {signal}), ...(maxBytes !== undefined && {maxBytes})};
  const model = await openOnnx(await bytesAt(source, {maxBytes: MAX_BYTES, ...limits}));
  const updates = underPrefix(await moduleUpdates(adapter, limits), prefix);
  throwIfAborted(signal);
  const modules = matchModules(productsOf(model.graph), updates);
  const factors = modules.flatMap(module => factorsOf(module));
  checkNumbersOf(factors, options);
  const changes = new FileChanges(model);
  const inputs: Record<string, AdapterInput> = {};
  const chunks: Uint8Array[] = [];
  let offset = 0;
  for (const {name, type, sizes, dims, data} of factors) {
    const bytes = bytesOfNumbers(data, type);
    if (mode === 'data') {
      changes.addTensor({name, type, shape: dims, bytes: {location: dataFile, offset, length: bytes.length}});
      chunks.push(bytes);
      offset += bytes.length;
    } else {
      changes.addInput(name, type, sizes);
      const values = type === TYPE.float16 ? new Uint16Array(bytes.buffer) : new Float32Array(bytes.buffer);
      inputs[name] = {type: type === TYPE.float16 ? 'float16' : 'float32', dims, data: values};
    }
  }
  modules.forEach(module => changes.addUpdate(module));
  return {file: await spliceOnnx(model.bytes, changes.root), inputs, data: concatenate(chunks)};
}

/** The updates of the modules under a path, with the rest of their paths. */
function underPrefix(updates: readonly ModuleUpdate[], prefix: string | undefined): readonly ModuleUpdate[] {
  if (prefix === undefined) {
    return updates;
  }
  const inside = updates.filter(({path}) => path.startsWith(`${prefix}.`));
  if (inside.length === 0) {
    throw misfitError(`No module of the adapter is under the path "${prefix}".`);
  }
  return inside.map(update => ({...update, path: update.path.slice(prefix.length + 1)}));
}

/** A factor of the update of a product. */
interface Factor {
  name: string;
  /** The number of its type in ONNX. */
  type: number;
  /** Its sizes in the graph, where the rank is open. */
  sizes: readonly (number | string)[];
  dims: readonly [number, number];
  data: Float32Array;
}

/** The factors of a product, `[in, rank]` and `[rank, out]`: those of its modules side by side. */
function factorsOf({name, products: [product], pieces}: FileModule): Factor[] {
  const {fanIn = 0, fanOut = 0, type = TYPE.float} = product ?? {};
  if (type !== TYPE.float && type !== TYPE.float16) {
    throw unsupportedError(`${name} computes in a type other than float32 and float16.`);
  }
  const ranks = pieces.map(({update: {b}}) => b.shape[0] ?? 0);
  const rank = ranks.reduce((sum, size) => sum + size, 0);
  const a = new Float32Array(fanIn * rank);
  const b = new Float32Array(rank * fanOut);
  let first = 0;
  pieces.forEach(({update, from, to, at}, i) => {
    const size = ranks[i] ?? 0;
    const width = update.b.shape[1] ?? 0;
    for (let row = 0; row < fanIn; row++) {
      a.set(update.a.data.subarray(row * size, (row + 1) * size), row * rank + first);
    }
    for (let row = 0; row < size; row++) {
      b.set(update.b.data.subarray(row * width + from, row * width + to), (first + row) * fanOut + at);
    }
    first += size;
  });
  const open = `${name}.rank`;
  return [
    {name: `${name}.lora_A`, type, sizes: [fanIn, open], dims: [fanIn, rank], data: a},
    {name: `${name}.lora_B`, type, sizes: [open, fanOut], dims: [rank, fanOut], data: b},
  ];
}

function checkNumbersOf(factors: readonly Factor[], {allowNonFinite}: FiniteOptions): void {
  const finite = {...(allowNonFinite !== undefined && {allowNonFinite})};
  for (const {name, type, data} of factors) {
    checkNumbers([[name, {data}]], type === TYPE.float16 ? 'F16' : 'F32', finite);
  }
}

function bytesOfNumbers(data: Float32Array, type: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(data.length * (type === TYPE.float16 ? 2 : 4));
  writeNumbers(new DataView(bytes.buffer), 0, data, type === TYPE.float16 ? 'F16' : 'F32');
  return bytes;
}

/** Changes of a graph that are being collected. */
interface GraphChanges extends Changes {
  added: NewTensor[];
  newInputs: Uint8Array[][];
  replaced: Map<number, Replacement>;
  inner: Map<number, Map<string, GraphChanges>>;
}

function noChanges(): GraphChanges {
  return {added: [], newInputs: [], replaced: new Map(), inner: new Map()};
}

/** The changes of a file whose products get updates. */
class FileChanges {
  readonly root = noChanges();
  private readonly present: ReadonlySet<string>;
  private readonly out: GraphWriter;

  constructor({graph, opsets}: OnnxModel) {
    this.present = new Set(graph.inputs.map(({name}) => name));
    const stored = [...graph.initializers.keys()];
    const adapted = stored.find(name => name.endsWith('.lora_A'));
    if (adapted !== undefined) {
      throw misfitError(`The file has an adapter already, ${adapted}. Adapt the file without it.`);
    }
    const names = [...usesOf(graph.nodes, graph.outputs).keys(), ...stored, ...this.present, ...namesIn(graph.nodes)];
    this.out = new GraphWriter(opsets.get('') ?? 1, new Set(names));
  }

  addTensor(tensor: NewTensor): void {
    this.root.added.push(tensor);
  }

  addInput(name: string, type: number, sizes: readonly (number | string)[]): void {
    if (!this.present.has(name)) {
      this.root.newInputs.push(valueMessage(name, type, sizes));
    }
  }

  /** Adds the nodes of a module's update, unless an earlier adaptation of the file did. */
  addUpdate({name, products}: FileModule): void {
    const factors = [`${name}.lora_A`, `${name}.lora_B`] as const;
    if (this.present.has(factors[0])) {
      return;
    }
    for (const {branch, place, x, y} of products) {
      this.out.layer = `${name}/lora`;
      this.at(branch).replaced.set(place, updateBeside(this.out, x, y, factors));
    }
  }

  /** The changes of a graph. */
  private at(branch: readonly BranchStep[]): GraphChanges {
    let changes = this.root;
    for (const {place, attribute} of branch) {
      const graphs = changes.inner.get(place) ?? new Map<string, GraphChanges>();
      const inside = graphs.get(attribute) ?? noChanges();
      changes.inner.set(place, graphs.set(attribute, inside));
      changes = inside;
    }
    return changes;
  }
}

/** The names of nodes and of what they return, also in the graphs inside them. */
function namesIn(nodes: readonly OnnxNode[]): string[] {
  return nodes.flatMap(({name, outputs, attributes}) => {
    const graphs = [...attributes.values()].flatMap(({g}) => (g === undefined ? [] : [readGraphProto(g)]));
    const inside = graphs.flatMap(graph => [...graph.initializers.keys(), ...namesIn(graph.nodes)]);
    return [name, ...outputs, ...inside];
  });
}
