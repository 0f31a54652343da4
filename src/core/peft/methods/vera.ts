import {LoRAError, showShape, unsupportedError} from '../../../platform/errors';
import {toTorch, type Values} from '../../../platform/formats/layout';
import {fromTorch} from './torchLayout';
import {scalingOf} from '../../methods/lora';
import {type PEFTForm, sized, tensorOf} from './form';

/** VeRA: all modules have the first rows and columns of `vera_A`, `[rank, in]`, and `vera_B`, `[out, rank]`. */
export const vera: PEFTForm = {
  type: 'VERA',
  methods: ['vera'],
  axes: [2],
  rank: 'r',
  parameters: ['vera_lambda_b', 'vera_lambda_d'],
  shared: ['vera_A', 'vera_B'],
  config: ({r, fanInFanOut}) => ({
    bias: 'none',
    d_initial: 0.1,
    fan_in_fan_out: fanInFanOut,
    projection_prng_key: 0,
    r,
    save_projection: true,
  }),
  read: (update, kernelShape, shared) => {
    const {strength} = update;
    const {rank} = strength;
    const [inputs = 1, outputs = 1] = kernelShape;
    const [a, b] = ['vera_A', 'vera_B'].map(name => shared.get(name));
    if (a === undefined || b === undefined) {
      throw new LoRAError(
        'the file holds no projections. PEFT creates them again with PyTorch’s random generator, which other ' +
          'programs do not have. Save with save_projection=True.',
      );
    }
    return {
      method: 'vera',
      strength,
      values: {
        vera_A: fromTorch(corner('vera_A', a, rank, inputs)),
        vera_B: fromTorch(corner('vera_B', b, outputs, rank)),
        vera_lambda_d: sized('vera_lambda_d', tensorOf(update, 'vera_lambda_d'), [rank]),
        vera_lambda_b: sized('vera_lambda_b', tensorOf(update, 'vera_lambda_b'), [outputs]),
      },
    };
  },
  write: ({strength}, _, valueOf) => {
    const [d, b] = ['vera_lambda_d', 'vera_lambda_b'].map(name => valueOf(name) as Values) as [Values, Values];
    const scaling = scalingOf(strength);
    return {vera_lambda_d: d, vera_lambda_b: {shape: b.shape, data: b.data.map(value => value * scaling)}};
  },
  writeShared: (layers, values) => {
    const paths = Object.keys(layers);
    const ranks = new Set(paths.map(path => layers[path]?.rank));
    // With a row for each input or output, the smaller one is a beginning of the larger.
    const largest = (name: string, inRows: (shared: Values) => Values): Values => {
      const all = paths.map(path => inRows(values[`${path}/${name}`] as Values));
      const [first, ...shorter] = all.sort((one, other) => other.data.length - one.data.length);
      if (ranks.size > 1 || !shorter.every(({data}) => data.every((value, i) => value === first?.data[i]))) {
        throw unsupportedError(
          "The adapter cannot be written for PEFT: its layers have separate random factors, but in PEFT's VeRA " +
            'all layers use parts of the same ones.',
        );
      }
      return first as Values;
    };
    return {vera_A: toTorch(largest('vera_A', values => values)), vera_B: largest('vera_B', toTorch)};
  },
};

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
