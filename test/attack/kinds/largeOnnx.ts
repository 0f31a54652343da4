import {disposeModel} from 'tfjs-lora';
import {fromONNX} from 'tfjs-lora/onnx';
import {floats, int, integers, ints, type Message, onnxFile, text, value} from '../../extensions/onnx/files';
import {pick, type Random} from '../damage';
import {type AttackKind, mustHold} from '../kind';

const SIZES = [1, 2, 3, 8, 64, 1000, 30_000, 1e6, 1e8];
const NUMBERS = [...SIZES, 0, -1, -2, -30_000, 1e9, 2 ** 31 - 1, -(2 ** 31), 2 ** 40];
const COUNTS = [1, 2, 3, 40, 3000, 20_000];

/** What is drawn for a node: its attributes, and its constants. */
interface DrawnNode {
  attributes?: Message[];
  constants?: ((name: string) => Message)[];
  /** How often it takes its input. */
  times?: number;
  outputs?: number;
}

/** Draws numbers, most of which are large. */
class Draw {
  constructor(private readonly random: Random) {}

  one<T>(of: readonly T[]): T {
    return pick(this.random, of);
  }

  list(count: number, of: readonly number[] = NUMBERS): number[] {
    return Array.from({length: count}, () => this.one(of));
  }

  /** An input of integers, or of ones. */
  numbers(count: number, of?: readonly number[]) {
    const values = this.list(count, of);
    return (name: string) => integers(name, [count], values);
  }

  number() {
    const number = this.one(NUMBERS);
    return (name: string) => integers(name, [], [number]);
  }

  ones(...shape: number[]) {
    const count = shape.reduce((product, size) => product * size, 1);
    return (name: string) => floats(name, shape, new Array<number>(count).fill(1));
  }

  window(axes: number, hasKernel: boolean): Message[] {
    const maybe = (message: Message) => (this.random() < 0.5 ? [message] : []);
    return [
      ...(hasKernel ? [ints('kernel_shape', this.list(axes, SIZES))] : []),
      ...maybe(ints('strides', this.list(axes, SIZES))),
      ...maybe(ints('pads', this.list(2 * axes))),
      ...maybe(ints('dilations', this.list(axes, SIZES))),
      ...maybe(int('ceil_mode', 1)),
      ...maybe(int('count_include_pad', 1)),
      ...maybe(text('auto_pad', this.one(['SAME_UPPER', 'SAME_LOWER']))),
    ];
  }
}

/** By operation: draws its attributes and constants, for an input of so many axes. */
const OPERATIONS: Readonly<Record<string, (draw: Draw, rank: number) => DrawnNode>> = {
  AveragePool: (draw, rank) => ({attributes: draw.window(rank - 2, true)}),
  Concat: draw => ({attributes: [int('axis', draw.one([0, 1, -1]))], times: draw.one(COUNTS)}),
  ConstantOfShape: draw => ({constants: [draw.numbers(draw.one(COUNTS))], times: 0}),
  Conv: (draw, rank) => ({
    attributes: [...draw.window(rank - 2, false), int('group', draw.one(SIZES))],
    constants: [draw.ones(2, 1, ...new Array<number>(rank - 2).fill(2))],
  }),
  ConvTranspose: (draw, rank) => ({
    attributes: [...draw.window(rank - 2, false), ints('output_padding', draw.list(rank - 2))],
    constants: [draw.ones(1, 1, ...new Array<number>(rank - 2).fill(2))],
  }),
  CumSum: draw => ({constants: [draw.number()]}),
  DepthToSpace: draw => ({attributes: [int('blocksize', draw.one(NUMBERS)), text('mode', draw.one(['DCR', 'CRD']))]}),
  Einsum: draw => ({attributes: [text('equation', draw.one(['ab,ac->bc', 'ab,cd->abcd', 'abc,abd->cd']))], times: 2}),
  Expand: draw => ({constants: [draw.numbers(draw.one([1, 2, 3, 40]))]}),
  Flatten: draw => ({attributes: [int('axis', draw.one(NUMBERS))]}),
  Gather: draw => ({attributes: [int('axis', draw.one([0, 1, -1]))], constants: [draw.numbers(draw.one(COUNTS))]}),
  LRN: draw => ({attributes: [int('size', draw.one(NUMBERS))]}),
  MaxPool: (draw, rank) => ({attributes: draw.window(rank - 2, true)}),
  OneHot: draw => ({constants: [draw.number(), name => floats(name, [2], [0, 1])]}),
  Pad: (draw, rank) => ({
    attributes: [text('mode', draw.one(['constant', 'reflect', 'edge']))],
    constants: [draw.numbers(2 * rank)],
  }),
  Range: draw => ({constants: [draw.number(), draw.number(), draw.number()], times: 0}),
  ReduceSum: draw => ({constants: [draw.numbers(draw.one(COUNTS))]}),
  Relu: () => ({}),
  Reshape: draw => ({constants: [draw.numbers(draw.one(COUNTS))]}),
  Resize: (draw, rank) => ({
    attributes: [text('mode', draw.one(['nearest', 'linear', 'cubic']))],
    constants: [name => floats(name, [0], []), name => floats(name, [0], []), draw.numbers(rank, SIZES)],
  }),
  Slice: (draw, rank) => ({constants: Array.from({length: 4}, () => draw.numbers(draw.one([1, rank])))}),
  SpaceToDepth: draw => ({attributes: [int('blocksize', draw.one(NUMBERS))]}),
  Split: draw => ({constants: [draw.numbers(draw.one(COUNTS))], outputs: draw.one(COUNTS)}),
  Sum: draw => ({times: draw.one(COUNTS)}),
  Tile: (draw, rank) => ({constants: [draw.numbers(rank)]}),
  TopK: draw => ({constants: [draw.numbers(1)], outputs: 2}),
  Transpose: (draw, rank) => ({attributes: [ints('perm', draw.list(rank))]}),
  Trilu: draw => ({constants: [draw.number()]}),
  Unsqueeze: draw => ({constants: [draw.numbers(draw.one(COUNTS))]}),
};

/** A file of nodes in a row, of one operation. */
function drawn(random: Random): Uint8Array {
  const draw = new Draw(random);
  const op = draw.one(Object.keys(OPERATIONS));
  const rank = draw.one([2, 3, 4, 5]);
  const length = draw.one([1, 1, 1, 2, 40]);
  const {attributes = [], constants = [], times = 1, outputs = 1} = OPERATIONS[op]!(draw, Math.max(rank, 3));
  const names = constants.map((_, i) => `c${i}`);
  return onnxFile({
    nodes: Array.from({length}, (_, i) => ({
      op,
      name: 'n',
      inputs: [...new Array<string>(times).fill(`v${i}`), ...names],
      outputs: [`v${i + 1}`, ...Array.from({length: outputs - 1}, (_, at) => `v${i + 1}_${at}`)],
      attributes,
    })),
    initializers: constants.map((constant, i) => constant(`c${i}`)),
    inputs: [
      value(
        'v0',
        Array.from({length: Math.max(rank, 3)}, () => draw.one([null, ...SIZES])),
      ),
    ],
    outputs: [value(`v${length}`, [null])],
    opset: 18,
  });
}

/** ONNX files whose sizes, kernels, axes and repeats are drawn large. */
export const largeOnnx: AttackKind = {
  name: 'an ONNX file of large sizes',
  prepare: () => ({
    whole: [],
    models: [],
    make: random => ({file: drawn(random)}),
    async use({file}) {
      const model = await fromONNX(file as Uint8Array);
      try {
        const held = model.weights.reduce((sum, weight) => sum + weight.read().size, 0);
        mustHold(held <= 2 ** 22 + 16 * (file as Uint8Array).length, 'The model holds far more than the file.');
      } finally {
        disposeModel(model);
      }
    },
  }),
};
