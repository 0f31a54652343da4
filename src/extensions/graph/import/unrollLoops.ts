import type * as tf from '@tensorflow/tfjs';
import {type GraphNode, inputsOf, nodeAndOutput, textOf} from '../graphDef';
import {consumersOf, neededNodes} from './order';

/** Loops with more iterations stay, and are refused: each iteration becomes layers. */
const MAX_ROUNDS = 256;
const MAX_LOOPS = 64;
/** The limits for nodes written for a loop, and for the depth of its counter expressions. */
const MAX_NODES = 20_000;
const DEEPEST = 32;

const LOOP_OPS = /^(?:Enter|Exit|Merge|Switch|NextIteration|LoopCond)$/;

/** Thrown if a loop stays as it is. */
class LoopStays extends Error {}

/** A loop variable, by its names in the graph: its initial value, and that of each iteration. */
interface Carried {
  merge: string;
  first: string;
  next: string;
  /** Its `NextIteration`. */
  step: string;
}

/** What is known of a graph. */
interface Known {
  nodes: ReadonlyMap<string, GraphNode>;
  weights: ReadonlyMap<string, unknown>;
  scalars: ReadonlyMap<string, number | undefined>;
}

/**
 * Returns the nodes of a graph with its loops unrolled, as Keras writes an unrolled recurrent layer. A loop whose
 * number of iterations depends on the inputs stays.
 */
export async function unrollLoops(list: readonly GraphNode[], weights: Map<string, tf.Tensor>): Promise<GraphNode[]> {
  const frames = new Set(list.filter(({op}) => op === 'Enter').map(node => textOf(node, 'frame_name')));
  const single = frames.size === 0 ? [] : [...weights].filter(([, {size, dtype}]) => size === 1 && dtype !== 'string');
  const read = await Promise.all(single.map(async ([name, tensor]) => [name, (await tensor.data())[0]] as const));
  const scalars = new Map(read as [string, number][]);
  return [...frames].slice(0, MAX_LOOPS).reduce(
    (nodes, frame) => {
      try {
        return unrolled({nodes: new Map(nodes.map(node => [node.name, node])), weights, scalars}, frame);
      } catch (error) {
        if (!(error instanceof LoopStays)) {
          throw error;
        }
        return nodes;
      }
    },
    [...list],
  );
}

/** The loop of a frame, as far as its nodes show. */
function loopOf(nodes: ReadonlyMap<string, GraphNode>, frame: string) {
  const list = [...nodes.values()];
  const entered = new Map(
    list.flatMap(node =>
      node.op === 'Enter' && textOf(node, 'frame_name') === frame ? [[node.name, from(node)]] : [],
    ),
  );
  const carried = list.flatMap((node): Carried[] => {
    const [first = '', step = ''] = node.op === 'Merge' ? inputsOf(node) : [];
    const next = nodes.get(step);
    return entered.has(first) && next !== undefined ? [{merge: node.name, first, next: from(next), step}] : [];
  });
  /** Merges, by their names or those of their switches. */
  const merges = new Map(carried.map(({merge}) => [merge, merge]));
  const switches = list.filter(node => node.op === 'Switch' && merges.has(from(node)));
  switches.forEach(node => merges.set(node.name, from(node)));
  const exits = list.filter(node => node.op === 'Exit' && merges.has(from(node)));
  return {entered, carried, merges, exits, condition: inputsOf(switches[0] ?? {name: '', op: ''})[1] ?? ''};
}

function unrolled({nodes, weights, scalars}: Known, frame: string): GraphNode[] {
  const loop = loopOf(nodes, frame);
  const {entered, carried, merges, exits, condition} = loop;
  const ends = new Set([...merges.keys(), ...entered.keys()]);
  const between = (outputs: string[]) =>
    neededNodes({nodes, weights}, {inputs: [...ends], outputs}).filter(
      ({name}) => !ends.has(name) && !weights.has(name),
    );
  const body = between(carried.map(({next}) => next));
  const rounds = roundsOf({nodes, scalars}, loop);
  if (body.some(({op}) => LOOP_OPS.test(op)) || body.length * rounds.length > MAX_NODES) {
    throw new LoopStays();
  }
  const written = new Map<string, GraphNode>();
  const write = (node: GraphNode) => written.set(node.name, node);
  /** The elements of lists, by list key. */
  const lists = new Map<string, (string | undefined)[]>();
  for (const name of entered.values()) {
    const list = nodes.get(name);
    if (list?.op === 'TensorListFromTensor') {
      lists.set(
        name,
        Array.from(rounds, (_, i) => `${name}:${i}`),
      );
      write({name, op: 'Unpack', input: [from(list)], attr: {...typed(list), axis: {i: 0}, num: {i: rounds.length}}});
    } else if (list?.op === 'TensorListReserve') {
      const length = scalars.get(inputsOf(list)[1] ?? '') ?? -1;
      lists.set(name, Array.from({length: length <= MAX_ROUNDS ? length : 0}));
    }
  }
  let state = new Map(carried.map(({merge, first}) => [merge, entered.get(first) ?? '']));
  for (const [k, numberAt] of rounds.entries()) {
    const copies = new Map<string, string>();
    const resolve = (name: string) => {
      const [node, output] = nodeAndOutput(name);
      const renamed = copies.get(node);
      const copy = renamed !== undefined && output > 0 ? `${renamed}:${output}` : renamed;
      return state.get(merges.get(node) ?? '') ?? entered.get(node) ?? copy ?? name;
    };
    for (const node of body) {
      const inputs = inputsOf(node);
      const [list = '', , value] = inputs.map(resolve);
      const elements = lists.get(list) ?? [];
      let name = `${node.name}/${k}`;
      while (nodes.has(name) || written.has(name)) {
        name += '_';
      }
      if (node.op === 'TensorListGetItem') {
        name = elements[numberAt(inputs[1]) ?? -1] ?? '';
      } else if (node.op === 'TensorListSetItem') {
        const at = numberAt(inputs[1]) ?? -1;
        name = at in elements ? name : '';
        lists.set(
          name,
          elements.map((element, i) => (i === at ? value : element)),
        );
      } else {
        name = inputs.some(input => lists.has(resolve(input))) ? '' : name;
        write({...node, name, input: inputs.map(resolve)});
      }
      if (name === '') {
        throw new LoopStays();
      }
      copies.set(node.name, name);
    }
    state = new Map(carried.map(({merge, next}) => [merge, resolve(next)]));
  }
  const results = new Map(exits.map(node => [node.name, state.get(merges.get(from(node)) ?? '') ?? '']));
  const steps = carried.map(({step}) => step);
  const gone = new Set([...ends, ...steps, ...[...body, ...between([condition])].map(({name}) => name)]);
  for (const {name, attr} of exits) {
    const input = results.get(name) ?? '';
    if (lists.has(input)) {
      gone.add(name);
    } else {
      write({name, op: 'Identity', input: [input], ...(attr && {attr})});
    }
  }
  for (const node of nodes.values()) {
    const items = lists.get(results.get(from(node)) ?? '');
    if (items !== undefined && node.op === 'TensorListStack' && items.length > 0 && !items.includes(undefined)) {
      const attr = {...typed(node), axis: {i: 0}, N: {i: items.length}};
      write({...node, op: 'Pack', input: items as string[], attr});
    } else if (items !== undefined) {
      throw new LoopStays();
    }
  }
  // Drops also what depends on these, or only orders the iterations.
  const consumers = consumersOf([...nodes.values()], {inputs: [], outputs: []});
  [...nodes.values()].filter(({op}) => op === 'NoOp').forEach(({name}) => gone.add(name));
  for (const name of gone) {
    consumers.get(name)?.forEach(next => written.has(next.name) || gone.add(next.name));
  }
  const unchanged = [...nodes.values()].filter(({name}) => !gone.has(name) && !written.has(name));
  return [...unchanged, ...written.values()].map(node => ({
    ...node,
    ...(node.input && {input: node.input.filter(name => !(name.startsWith('^') && gone.has(name.slice(1))))}),
  }));
}

function from({input: [name = ''] = []}: GraphNode): string {
  return name;
}

/** The type of the elements of a list. */
function typed({attr: {element_dtype: T} = {}}: GraphNode): GraphNode['attr'] {
  return T === undefined ? {} : {T};
}

type NumberAt = (name: string | undefined, depth?: number) => number | undefined;

/**
 * Returns the values of the counters in each iteration of a loop; a test is 0 or 1.
 *
 * @throws LoopStays if the inputs determine the number of iterations.
 */
function roundsOf(
  {nodes, scalars}: Pick<Known, 'nodes' | 'scalars'>,
  {entered, carried, merges, condition}: ReturnType<typeof loopOf>,
): NumberAt[] {
  const counting = (state: ReadonlyMap<string, number | undefined>): NumberAt => {
    const computed = new Map<string, number | undefined>();
    const at: NumberAt = (name = '', depth = 0) => {
      const [node] = nodeAndOutput(name);
      const merge = merges.get(node);
      if (merge !== undefined || scalars.has(node)) {
        return merge === undefined ? scalars.get(node) : state.get(merge);
      }
      if (!computed.has(node) && depth < DEEPEST) {
        const {op = '', ...fields} = nodes.get(node) ?? {name: ''};
        const [a, b] = inputsOf({op, ...fields}).map(input => at(input, depth + 1));
        const passes = ['Enter', 'Identity', 'LoopCond'].includes(op);
        computed.set(node, passes ? a : a === undefined || b === undefined ? undefined : COUNTS[op]?.(a, b));
      }
      return computed.get(node);
    };
    return at;
  };
  const rounds: NumberAt[] = [];
  let at = counting(new Map());
  let state = new Map(carried.map(({merge, first}) => [merge, at(entered.get(first))]));
  for (at = counting(state); at(condition) === 1; at = counting(state)) {
    rounds.push(at);
    state = new Map(carried.map(({merge, next}) => [merge, at(next)]));
    if (rounds.length > MAX_ROUNDS || rounds.length * carried.length > MAX_NODES) {
      throw new LoopStays();
    }
  }
  if (at(condition) !== 0 || rounds.length === 0) {
    throw new LoopStays();
  }
  return rounds;
}

const COUNTS: Readonly<Partial<Record<string, (a: number, b: number) => number>>> = {
  Add: (a, b) => a + b,
  AddV2: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Less: (a, b) => Number(a < b),
  LessEqual: (a, b) => Number(a <= b),
  Greater: (a, b) => Number(a > b),
  LogicalAnd: (a, b) => a * b,
};
