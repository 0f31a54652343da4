import * as tf from '@tensorflow/tfjs';
import type {GraphNode} from '../../src/extensions/graph/graphDef';
import {convolution, integers} from '../extensions/graph/graphs';
import type {Random} from './damage';
import {GraphBuilder, type GraphConstant} from './graphBuilder';

/** A graph as JSON. Of its inputs, a first size of -1 is a batch of any size. */
export interface RandomGraph {
  nodes: GraphNode[];
  constants: Record<string, GraphConstant>;
  /** Outputs of nodes: `split:1`. */
  outputs: string[];
}

/** Adds a node of some kind, and those that it needs; gives nothing where there is nothing to put it on. */
type Step = (b: GraphBuilder) => unknown;

const UNARY = 'Relu Relu6 Tanh Sigmoid Neg Abs Square Elu Softplus OnesLike ZerosLike LeakyRelu Identity'.split(' ');
const BINARY = 'AddV2 Sub Mul Maximum Minimum SquaredDifference'.split(' ');

const unary: Step = b => on(b.floats(), x => b.add(b.pick(UNARY), [x]));

/** Of two flows, of one with itself or an alias of itself, or of a flow and a constant. */
const binary: Step = b =>
  on(b.floats(), x => {
    const names = [x, b.flip() ? b.floats()! : broadcastTo(b, x)];
    b.add(b.pick(BINARY), b.flip() ? names : names.reverse());
  });

const aliased: Step = b =>
  on(b.floats(), x => {
    const [alias = x] = b.add('Identity', [x]);
    return b.flip() ? b.add(b.pick(BINARY), [alias, x]) : b.add('ConcatV2', [alias, x, b.ints(-1)], {N: {i: '2'}});
  });

/** A constant that can be broadcast with a flow. */
function broadcastTo(b: GraphBuilder, x: string): string {
  const shape = b.shape(x).map(size => (b.flip(0.3) ? 1 : size));
  return b.constant(b.numbers(shape.slice(b.below(shape.length + 1))));
}

const addN: Step = b =>
  on(b.floats(), x => {
    const like = b.floats(shape => tf.util.arraysEqual(shape, b.shape(x)))!;
    b.add('AddN', [x, like, ...(b.flip() ? [x] : [])], {N: {i: '2'}});
  });

const matMul: Step = b =>
  on(
    b.floats(shape => shape.length >= 2),
    x => {
      const width = b.shape(x).at(-1)!;
      const units = 1 + b.below(4);
      const other = b.flip(0.7)
        ? b.constant(b.numbers([width, units]))
        : (b.floats(shape => shape.length >= 2 && shape.at(-2) === width) ?? x);
      const isMatrix = b.shape(x).length === 2 && b.shape(other).length === 2;
      const [y] = b.add(
        isMatrix ? 'MatMul' : 'BatchMatMulV2',
        [x, other],
        isMatrix && b.flip(0.2) ? {transpose_a: {b: true}} : {},
      );
      on(y, sum => b.flip() && b.add('BiasAdd', [sum, b.constant(b.numbers([b.shape(sum).at(-1)!]))]));
    },
  );

const images = (b: GraphBuilder) => b.floats(shape => shape.length === 4);

const conv: Step = b =>
  on(images(b), x => {
    const padding = b.pick(['SAME', 'VALID']);
    const strides: [number, number] = [1 + b.below(2), 1 + b.below(2)];
    const filter = b.constant(b.numbers([1 + b.below(2), 1 + b.below(2), b.shape(x)[3]!, 1 + b.below(2)]));
    b.add(b.pick(['Conv2D', 'DepthwiseConv2dNative']), [x, filter], convolution({strides, padding}));
  });

/** A convolution with a filter that hangs on the input. */
const flowingFilter: Step = b =>
  on(images(b), x => on(images(b), filter => b.add('Conv2D', [x, filter], convolution({padding: 'SAME'}))));

const pool: Step = b =>
  on(images(b), x => {
    const steps = integers(1, 1 + b.below(2), 1 + b.below(2), 1);
    b.add(b.pick(['MaxPool', 'AvgPool']), [x], {ksize: steps, strides: steps, ...convolution({padding: 'SAME'})});
  });

const normalized: Step = b =>
  on(images(b), x => {
    const channels = [b.shape(x)[3]!];
    const own = () => b.constant(b.numbers(channels));
    const variance = b.constant({...b.numbers(channels), values: channels.flatMap(n => Array<number>(n).fill(2))});
    b.add('FusedBatchNormV3', [x, own(), own(), own(), variance], {epsilon: {f: 0.001}});
  });

const resized: Step = b =>
  on(images(b), x => {
    const sizes = b
      .shape(x)
      .slice(1, 3)
      .map(size => size * (1 + b.below(2)));
    b.add(b.pick(['ResizeBilinear', 'ResizeNearestNeighbor']), [x, b.ints(sizes)]);
  });

const matrix = (b: GraphBuilder) => b.floats(shape => shape.length === 2);

const axisOf = (b: GraphBuilder, rank: number) => b.below(2 * rank) - rank;

const reduced: Step = b =>
  on(
    b.floats(shape => shape.length > 0),
    x => {
      const rank = b.shape(x).length;
      const axes = b.flip(0.7) ? axisOf(b, rank) : Array.from({length: rank}, (_, i) => i).filter(() => b.flip());
      b.add(b.pick(['Mean', 'Sum', 'Max', 'Min', 'Prod']), [x, b.ints(axes)], {keep_dims: {b: b.flip()}});
    },
  );

const along: Step = b =>
  on(
    b.floats(shape => shape.length > 0),
    x => {
      const axis = axisOf(b, b.shape(x).length);
      switch (b.below(5)) {
        case 0:
          return b.add(b.pick(['Softmax', 'LogSoftmax']), [x]);
        case 1:
          return b.add('Cumsum', [x, b.ints(Math.abs(axis) % b.shape(x).length)]);
        case 2:
          return b.add('ReverseV2', [x, b.ints([axis])]);
        case 3:
          return b.add('TopKV2', [x, b.ints(1 + b.below(b.shape(x).at(-1)!))], {sorted: {b: true}}, 2);
        default:
          return b.add('ArgMax', [x, b.ints(Math.abs(axis) % b.shape(x).length)]);
      }
    },
  );

/** Casts, and what integers do. */
const integer: Step = b =>
  on(
    b.flow((_, dtype) => dtype === 'int32'),
    x => {
      switch (b.below(4)) {
        case 0:
          return b.add('OneHot', [x, b.ints(3), b.constant(b.numbers([])), b.constant(b.numbers([]))], {
            T: {type: 'DT_FLOAT'},
          });
        case 1:
          return b.add('GatherV2', [b.constant(b.numbers([16, 3])), x, b.ints(0)]);
        default:
          return b.add('Cast', [x], {SrcT: {type: 'DT_INT32'}, DstT: {type: 'DT_FLOAT'}});
      }
    },
  );

/** Another shape of as many numbers. */
function factored(b: GraphBuilder, x: string): number[] {
  let left = b.shape(x).reduce((total, size) => total * size, 1);
  const sizes: number[] = b.flip(0.4) ? [1] : b.flip(0.4) ? [b.shape(x)[0] ?? 1] : [];
  left = left % (sizes[0] ?? 1) === 0 ? left / (sizes[0] ?? 1) : left;
  for (let more = b.below(3); more > 0; more--) {
    const size = b.pick(Array.from({length: left}, (_, i) => i + 1).filter(each => left % each === 0));
    sizes.push(size);
    left /= size;
  }
  return [...sizes, left];
}

const reshaped: Step = b =>
  on(b.flow(), x => {
    const target = b.flip(0.3) ? [b.shape(x)[0] ?? 1, ...b.shape(x).slice(1).reverse()] : factored(b, x);
    const open = b.flip(0.6) ? b.below(target.length) : -1;
    b.add('Reshape', [x, b.ints(target.map((size, i) => (i === open ? -1 : size)))]);
  });

const squeezed: Step = b =>
  on(b.flow(), x => {
    const shape = b.shape(x);
    const ones = shape.flatMap((size, i) => (size === 1 ? [i] : []));
    if (b.flip(0.4)) {
      return b.add('ExpandDims', [x, b.ints(b.below(2 * shape.length + 2) - shape.length - 1)]);
    }
    const dims = b.flip(0.3) || ones.length === 0 ? [] : [b.pick(ones) - (b.flip(0.3) ? shape.length : 0)];
    return b.add('Squeeze', [x], {squeeze_dims: integers(...dims)});
  });

const transposed: Step = b =>
  on(
    b.flow(shape => shape.length > 1),
    x => {
      const order = b.shape(x).map((_, i) => i);
      const kept = b.flip(0.6) ? [order.shift()!] : [];
      b.add('Transpose', [x, b.ints([...kept, ...order.sort(() => b.random() - 0.5)])]);
    },
  );

const sliced: Step = b =>
  on(
    b.flow(shape => shape.length > 0),
    x => {
      const shape = b.shape(x);
      const begin = shape.map(size => (b.flip() ? 0 : b.below(size)));
      const size = shape.map((each, i) => (b.flip() ? -1 : 1 + b.below(each - begin[i]!)));
      if (b.flip(0.4)) {
        return b.add('Slice', [x, b.ints(begin), b.ints(size)]);
      }
      const axes = 1 + b.below(shape.length);
      const end = begin.map((start, i) => (size[i] === -1 ? shape[i]! : start + size[i]!));
      const mask = () => ({i: String(b.flip() ? b.below(2 ** axes) : 0)});
      const ends = [begin, end, shape.map(() => 1 + Number(b.flip(0.1)))].map(list => b.ints(list.slice(0, axes)));
      return b.add('StridedSlice', [x, ...ends], {
        begin_mask: mask(),
        end_mask: mask(),
        ...(b.flip(0.3) && {shrink_axis_mask: mask()}),
        ...(b.flip(0.1) && {new_axis_mask: mask()}),
      });
    },
  );

const padded: Step = b =>
  on(
    b.floats(shape => shape.length > 0),
    x => {
      const pads = b.shape(x).flatMap((_, i) => (i > 0 || b.flip(0.2) ? [b.below(2), b.below(2)] : [0, 0]));
      const list = b.constant({shape: [pads.length / 2, 2], dtype: 'int32', values: pads});
      return b.flip(0.7) ? b.add('Pad', [x, list]) : b.add('MirrorPad', [x, list], {mode: {s: btoa('SYMMETRIC')}});
    },
  );

const repeated: Step = b =>
  on(
    b.flow(shape => shape.length > 0),
    x => {
      const counts = b.shape(x).map((_, i) => (i > 0 || b.flip(0.3) ? 1 + b.below(2) : 1));
      const sizes = b.shape(x).map(size => (size === 1 ? 1 + b.below(3) : size));
      return b.flip() ? b.add('Tile', [x, b.ints(counts)]) : b.add('BroadcastTo', [x, b.ints(sizes)]);
    },
  );

/** Of flows, and of flows and constants, as a transformer of images puts its class token before the patches. */
const joined: Step = b =>
  on(
    b.floats(shape => shape.length > 0),
    x => {
      const shape = b.shape(x);
      const axis = axisOf(b, shape.length);
      const at = axis < 0 ? axis + shape.length : axis;
      const other = b.flip()
        ? b.constant(b.numbers(shape.map((size, i) => (i === at ? 1 + b.below(2) : size))))
        : b.floats(each => each.length === shape.length && each.every((size, i) => i === at || size === shape[i]))!;
      const parts = b.flip() ? [x, other] : [other, x];
      return b.flip(0.8)
        ? b.add('ConcatV2', [...parts, b.ints(axis)], {N: {i: '2'}})
        : b.add('Pack', parts, {N: {i: '2'}, axis: {i: String(axis)}});
    },
  );

const parted: Step = b =>
  on(
    b.floats(shape => shape.length > 0),
    x => {
      const axis = axisOf(b, b.shape(x).length);
      const size = b.shape(x).at(axis)!;
      if (b.flip()) {
        return b.add('Unpack', [x], {num: {i: String(size)}, axis: {i: String(axis)}}, size);
      }
      return size % 2 === 0
        ? b.add('Split', [b.ints(axis), x], {num_split: {i: '2'}}, 2)
        : b.add('SplitV', [x, b.ints(size === 1 ? [1] : [1, size - 1]), b.ints(axis)], {}, size === 1 ? 1 : 2);
    },
  );

const gathered: Step = b =>
  on(
    b.floats(shape => shape.length > 0),
    x => {
      const axis = axisOf(b, b.shape(x).length);
      const size = b.shape(x).at(axis)!;
      const rows = b.flip(0.7) ? b.ints([b.below(size), b.below(size)]) : b.flow((_, dtype) => dtype === 'int32');
      on(rows, indices => {
        const hasBatch = b.flip(0.2) && b.shape(indices).length > 0;
        b.add('GatherV2', [x, indices, b.ints(axis)], hasBatch ? {batch_dims: {i: '1'}} : {});
      });
    },
  );

const summed: Step = b =>
  on(
    b.floats(shape => shape.length === 2 || shape.length === 3),
    x => {
      const shape = b.shape(x);
      const y = b.flip()
        ? b.constant(b.numbers([shape.at(-1)!, 2]))
        : (b.floats(each => each.at(0) === shape.at(-1)) ?? x);
      const equation =
        shape.length === 2
          ? b.pick(['ab,bc->ac', 'ab,bc->ca', 'ab,ab->a', 'aa,bc->ac'])
          : b.pick(['abc,cd->abd', 'abc,adc->abd', 'abc,abd->acd']);
      b.add('Einsum', [x, y], {equation: {s: btoa(equation)}, N: {i: '2'}});
    },
  );

const chosen: Step = b =>
  on(b.floats(), x => {
    const y = b.flip() ? broadcastTo(b, x) : b.floats()!;
    on(b.add('Greater', [x, y])[0], above => b.add('SelectV2', [above, x, y]));
  });

const clipped: Step = b =>
  on(b.floats(), x => {
    // Below whatever the other limit may be.
    const low = b.constant({shape: [], dtype: 'float32', values: [-1e9]});
    const high = b.flip(0.9)
      ? b.constant({shape: [], dtype: 'float32', values: [0.5]})
      : b.floats(shape => tf.util.sizeFromShape(shape) === 1);
    on(high, limit => b.add('ClipByValue', [x, low, limit]));
  });

/** One of the sizes of a shape, or a number made of them. */
function sizeOf(b: GraphBuilder, x: string): string | undefined {
  if (b.flip(0.2)) {
    return b.add('Size', [x])[0];
  }
  const [shape] = b.add('Shape', [x]);
  const rank = b.shape(x).length;
  if (shape === undefined || rank === 0) {
    return undefined;
  }
  const at = b.below(rank);
  const [size] = b.add('StridedSlice', [shape, ...[at, at + 1, 1].map(place => b.ints([place]))], {
    shrink_axis_mask: {i: '1'},
  });
  return size !== undefined && b.flip(0.3)
    ? b.add(b.pick(['Mul', 'FloorDiv', 'Minimum', 'Maximum', 'AddV2']), [size, b.ints(1 + b.below(4))])[0]
    : size;
}

/** What a graph does with the sizes of its tensors. */
const sized: Step = b =>
  on(
    b.flow(shape => shape.length > 0),
    x =>
      on(sizeOf(b, x), size => {
        const rank = b.shape(x).length;
        const total = tf.util.sizeFromShape(b.shape(x));
        const own = b.tensors.get(size)!.dataSync()[0]!;
        switch (b.below(5)) {
          case 0:
            return on(b.add('Cast', [size], {SrcT: {type: 'DT_INT32'}, DstT: {type: 'DT_FLOAT'}})[0], factor =>
              on(b.floats(), y => b.add(b.pick(['Mul', 'AddV2', 'RealDiv']), [y, factor])),
            );
          case 1: {
            const rest = b.flip() || total % own !== 0 ? b.ints(-1) : b.ints(total / own);
            const parts = b.flip(0.7) ? [size, rest] : [rest, size];
            return on(b.add('Pack', parts, {N: {i: '2'}, axis: {i: '0'}})[0], target => b.add('Reshape', [x, target]));
          }
          case 2:
            return on(b.add('Pack', [size, b.ints(2)], {N: {i: '2'}, axis: {i: '0'}})[0], dims =>
              on(b.add('Fill', [dims, b.constant(b.numbers([]))])[0], filled =>
                on(matrix(b), y => b.add('ConcatV2', [y, filled, b.ints(1)], {N: {i: '2'}})),
              ),
            );
          case 3:
            return on(b.add('Range', [b.ints(0), size, b.ints(1)])[0], range =>
              b.flip()
                ? b.add('GatherV2', [x, range, b.ints(axisOf(b, rank))])
                : b.add('Cast', [range], {SrcT: {type: 'DT_INT32'}, DstT: {type: 'DT_FLOAT'}}),
            );
          default:
            return on(b.add('Pack', [size], {N: {i: '1'}, axis: {i: '0'}})[0], end =>
              b.add('StridedSlice', [x, b.ints([0]), end, b.ints([1])]),
            );
        }
      }),
  );

const STEPS: readonly Step[] = [
  ...[unary, binary, matMul, reshaped, squeezed, sliced, reduced, along, sized].flatMap(step => [step, step, step]),
  ...[joined, transposed, gathered, repeated, padded, conv, aliased, integer, summed].flatMap(step => [step, step]),
  ...[addN, flowingFilter, pool, normalized, resized, parted, chosen, clipped],
];

/** Goes on with a name, if there is one. */
function on(name: string | undefined, next: (name: string) => unknown): unknown {
  return name === undefined ? undefined : next(name);
}

/** What inputs are like: of a fixed batch, of any batch, of any batch and length. */
export type Batch = 'fixed' | 'open' | 'openLengths';

/** A small graph that can be computed, made of random nodes. */
export function randomGraph(random: Random, batch: Batch): RandomGraph {
  const b = new GraphBuilder(random);
  try {
    const rows = batch === 'fixed' ? b.pick([1, 1, 1, 2]) : 3;
    for (let count = 1 + Number(b.flip(0.3)); count > 0; count--) {
      const sizes = [rows, ...Array.from({length: 1 + b.below(3)}, () => 1 + b.below(5))];
      const shape = sizes.map((size, axis) =>
        batch !== 'fixed' && (axis === 0 || (batch === 'openLengths' && axis < 3 && b.flip())) ? -1 : size,
      );
      b.addInput(shape, sizes, b.flip(0.15) ? 'int32' : 'float32');
    }
    const inputs = b.nodes.length;
    const wanted = inputs + 1 + b.below(9);
    for (let tries = 0; tries < 60 && b.nodes.length < wanted; tries++) {
      b.pick(STEPS)(b);
    }
    const more = Array.from({length: b.flip(0.3) ? 1 + b.below(2) : 0}, () => b.pick(b.inputFlows));
    const ends = [b.inputFlows.at(-1)!, ...more];
    const [alias] = b.flip(0.1) ? b.add('Identity', [b.pick(ends)]) : [];
    const outputs = [...new Set([...ends, ...(alias === undefined ? [] : [alias])])];
    const used = new Set(b.nodes.flatMap(({input: names = []}) => names));
    const constants = Object.fromEntries(Object.entries(b.constants).filter(([name]) => used.has(name)));
    return {nodes: b.nodes, constants, outputs};
  } finally {
    b.dispose();
  }
}
