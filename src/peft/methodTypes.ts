import {LoRAError, showShape} from '../errors';
import {fromTorch, multiply, reshape, sizeOf, toTorch, type Values} from '../formats/layout';
import {scalingOf, type Strength} from '../methods/method';
import {type LayerUpdate, withinLimit} from './update';

// PEFT has a type of adapter for each method, with names of tensors and fields of a config of its own.

/** A type of adapter of PEFT. Those beside `LORA` have a parameter for each of ours. */
export type PEFTType = 'LORA' | 'IA3' | 'VERA' | 'LOHA' | 'LOKR';

/** What is known of a type. */
interface TypeFacts {
  /** How many axes the weights have of which it stores updates, in PyTorch. */
  axes: readonly number[];
  /** Whether it stores those of GPT-2's `Conv1D`. Default: true. */
  conv1d?: boolean;
  /** What the fields of its config are called that hold the rank and `alpha`, if it has them. */
  rank?: 'r';
  alpha?: 'lora_alpha' | 'alpha';
  /** The names of its tensors behind the paths of modules. */
  parameters: readonly string[];
  /** Fields of its config that change what it computes in ways that are not carried. */
  refused: readonly string[];
  /** What its config says beside what is known from the adapter. */
  written: Readonly<Record<string, unknown>>;
}

export const TYPES: Readonly<Record<PEFTType, TypeFacts>> = {
  LORA: {axes: [2, 3, 4, 5], rank: 'r', alpha: 'lora_alpha', parameters: [], refused: [], written: {}},
  IA3: {axes: [2, 4, 5], parameters: ['ia3_l'], refused: [], written: {init_ia3_weights: true}},
  VERA: {
    axes: [2],
    rank: 'r',
    parameters: ['vera_lambda_b', 'vera_lambda_d'],
    refused: [],
    written: {bias: 'none', d_initial: 0.1, projection_prng_key: 0, save_projection: true},
  },
  LOHA: {
    axes: [2, 3, 4],
    conv1d: false,
    rank: 'r',
    alpha: 'alpha',
    parameters: ['hada_w1_a', 'hada_w1_b', 'hada_w2_a', 'hada_w2_b'],
    refused: ['use_effective_conv2d'],
    written: {alpha_pattern: {}, rank_pattern: {}, use_effective_conv2d: false},
  },
  LOKR: {
    axes: [2, 3, 4],
    conv1d: false,
    rank: 'r',
    alpha: 'alpha',
    parameters: ['lokr_w1', 'lokr_w1_a', 'lokr_w1_b', 'lokr_w2', 'lokr_w2_a', 'lokr_w2_b'],
    refused: ['use_effective_conv2d'],
    written: {
      alpha_pattern: {},
      rank_pattern: {},
      use_effective_conv2d: false,
      decompose_both: false,
      decompose_factor: -1,
    },
  },
};

/** The type in which PEFT stores updates by a method of ours. */
export function typeOf(method: string): PEFTType {
  switch (method) {
    case 'ia3':
    case 'ia3-feedforward':
      return 'IA3';
    case 'vera':
      return 'VERA';
    case 'loha':
      return 'LOHA';
    case 'lokr':
      return 'LOKR';
    default:
      return 'LORA';
  }
}

/** An update by a method beside LoRA, in our layout. */
export interface OwnUpdate {
  method: string;
  strength: Strength;
  /** The parameters, by their names. */
  values: Record<string, Values>;
}

/** An update as PEFT has it: tensors by name, and what the config says of its module. */
export interface ForeignUpdate {
  tensors: ReadonlyMap<string, Values>;
  strength: Strength;
  /** Whether the module is one of `feedforward_modules`; `undefined` where the config leaves it to the shape. */
  feedForward: boolean | undefined;
}

/**
 * An update in our layout, for a layer with a kernel of the given shape.
 *
 * @param shared the tensors that all modules share, by name.
 * @throws LoRAError if it fits no such layer.
 */
export function fromForeign(
  type: PEFTType,
  {tensors, strength, feedForward}: ForeignUpdate,
  kernelShape: readonly number[],
  shared: ReadonlyMap<string, Values>,
): OwnUpdate {
  const get = (name: string): Values => {
    const values = tensors.get(name);
    if (values === undefined) {
      throw new LoRAError(`its ${name} is missing.`);
    }
    return values;
  };
  const space = kernelShape.slice(0, -2);
  const [inputs = 1, outputs = 1] = kernelShape.slice(-2);
  switch (type) {
    case 'IA3': {
      const l = get('ia3_l');
      const isInput = feedForward ?? isRow(l.shape);
      const shape = [isInput ? inputs : outputs];
      const method = isInput ? 'ia3-feedforward' : 'ia3';
      return {method, strength: {rank: 1, alpha: 1, rankStabilized: false}, values: {ia3_l: sized('ia3_l', l, shape)}};
    }
    case 'VERA': {
      const {rank} = strength;
      const [a, b] = ['vera_A', 'vera_B'].map(name => shared.get(name));
      if (a === undefined || b === undefined) {
        throw new LoRAError(
          'the file holds no projections. PEFT draws them again with PyTorch’s generator, which no other program has. Save with save_projection=True.',
        );
      }
      return {
        method: 'vera',
        strength,
        values: {
          vera_A: fromTorch(corner('vera_A', a, rank, inputs)),
          vera_B: fromTorch(corner('vera_B', b, outputs, rank)),
          vera_lambda_d: sized('vera_lambda_d', get('vera_lambda_d'), [rank]),
          vera_lambda_b: sized('vera_lambda_b', get('vera_lambda_b'), [outputs]),
        },
      };
    }
    case 'LOHA': {
      const [first, second] = ['hada_w1', 'hada_w2'].map(name => {
        const [a, b] = [get(`${name}_a`), get(`${name}_b`)];
        const [outer = 1] = b.shape;
        if (outer !== strength.rank || a.shape[1] !== outer) {
          throw new LoRAError(
            `its ${name} has factors of rank ${a.shape[1] ?? 1} and ${outer}, and the config says ${strength.rank}.`,
          );
        }
        return withinLimit({a: fromTorch(unfolded(`${name}_b`, b, [outer, inputs], space)), b: fromTorch(a), strength});
      }) as [LayerUpdate, LayerUpdate];
      const values = {hada_w1_a: first.b, hada_w1_b: first.a, hada_w2_a: second.b, hada_w2_b: second.a};
      return {method: 'loha', strength: first.strength, values};
    }
    case 'LOKR': {
      const w1 = tensors.get('lokr_w1') ?? product(get('lokr_w1_a'), get('lokr_w1_b'), [outputs, inputs]);
      const [, in1 = 1] = w1.shape;
      const whole = tensors.get('lokr_w2');
      const inner = inputs / in1;
      return {
        method: 'lokr',
        strength,
        values: {
          lokr_w1: fromTorch(w1),
          ...(whole === undefined
            ? {
                lokr_w2_a: fromTorch(get('lokr_w2_a')),
                lokr_w2_b: fromTorch(
                  unfolded('lokr_w2_b', get('lokr_w2_b'), [get('lokr_w2_b').shape[0] ?? 1, inner], space),
                ),
              }
            : {lokr_w2: fromTorch(whole)}),
        },
      };
    }
    default:
      throw new LoRAError('its update is of no known type.');
  }
}

/**
 * An update as PEFT has it, by the names of tensors, of a weight of the given kind. What its type has no strength for is in the numbers.
 *
 * @param valueOf gives the parameters.
 */
export function toForeign(
  {method, strength}: {method: string; strength: Strength},
  axes: number,
  valueOf: (name: string) => Values | undefined,
): Record<string, Values> {
  const get = (name: string) => valueOf(name) as Values;
  const ones = (count: number) => Array<number>(count).fill(1);
  const scaling = scalingOf(strength);
  switch (method) {
    case 'ia3':
    case 'ia3-feedforward': {
      const {data} = get('ia3_l');
      const l = scaling === 1 ? data : data.map(value => 1 + scaling * (value - 1));
      const isInput = method === 'ia3-feedforward';
      const shape = axes === 2 && !isInput ? [l.length, 1] : [1, l.length, ...ones(axes - 2)];
      return {ia3_l: {shape, data: l}};
    }
    case 'vera':
      return {
        vera_lambda_d: get('vera_lambda_d'),
        vera_lambda_b: {
          shape: get('vera_lambda_b').shape,
          data: get('vera_lambda_b').data.map(value => value * scaling),
        },
      };
    default: {
      const names = TYPES[typeOf(method)].parameters.filter(name => valueOf(name) !== undefined);
      return Object.fromEntries(
        names.map(name => {
          const torch = toTorch(get(name));
          const isFolded = name.endsWith('_b') && name !== 'lokr_w1_b';
          return [name, isFolded ? reshape(torch, [torch.shape[0] ?? 1, sizeOf(torch.shape.slice(1))]) : torch];
        }),
      );
    }
  }
}

/** Whether a factor for each channel is one of the inputs of a Linear: `[1, in]`, where one of the outputs is `[out, 1]`. */
function isRow(shape: readonly number[]): boolean {
  if (shape.length > 2) {
    throw new LoRAError(
      'the factors of a convolution look alike for inputs and outputs, and feedforward_modules is an expression. Write it as a list.',
    );
  }
  return shape[0] === 1 && (shape[1] ?? 1) > 1;
}

/** Values in another shape of the same size. */
function sized(name: string, values: Values, shape: readonly number[]): Values {
  if (values.data.length !== sizeOf(shape)) {
    throw new LoRAError(
      `its ${name} has shape ${showShape([...values.shape])}, the layer needs ${showShape([...shape])}.`,
    );
  }
  return reshape(values, shape);
}

/** A matrix `[outer, in · space]` as PyTorch has the weight of a convolution, `[outer, in, ...space]`. */
function unfolded(name: string, values: Values, [outer, inputs]: [number, number], space: readonly number[]): Values {
  return sized(name, values, [outer, inputs, ...space]);
}

/** A product of two matrices that is not larger than some size, whatever a file says. */
function product(a: Values, b: Values, most: readonly [number, number]): Values {
  const [rows = 1, inner = 1] = a.shape;
  const [rank, columns = 1] = b.shape;
  if (a.shape.length !== 2 || b.shape.length !== 2 || inner !== rank || rows > most[0] || columns > most[1]) {
    throw new LoRAError(
      `its factors of shapes ${showShape([...a.shape])} and ${showShape([...b.shape])} do not fit the layer.`,
    );
  }
  return {shape: [rows, columns], data: multiply(a.data, b.data, [rows, inner, columns])};
}

/** The first rows and columns of a matrix. */
function corner(name: string, {shape, data}: Values, rows: number, columns: number): Values {
  const [height = 0, width = 0] = shape;
  if (shape.length !== 2 || height < rows || width < columns) {
    throw new LoRAError(`the file's ${name} has shape ${showShape([...shape])}, too small for [${rows}, ${columns}].`);
  }
  const result = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    result.set(data.subarray(row * width, row * width + columns), row * columns);
  }
  return {shape: [rows, columns], data: result};
}
