import {LoRAError} from '../../../platform/errors';
import {scalingOf} from '../../methods/lora';
import {type PEFTForm, sized, tensorOf} from './form';

/** IA³: a factor for each output, or for each input of the modules in `feedforward_modules`. */
export const ia3: PEFTForm = {
  type: 'IA3',
  methods: ['ia3', 'ia3-feedforward'],
  axes: [2, 4, 5],
  parameters: ['ia3_l'],
  config: ({modules, fanInFanOut}) => ({
    fan_in_fan_out: fanInFanOut,
    feedforward_modules: modules.filter(({method}) => method === 'ia3-feedforward').map(({path}) => path),
    init_ia3_weights: true,
  }),
  read: (update, kernelShape) => {
    const {path, fields} = update;
    const l = tensorOf(update, 'ia3_l');
    const {feedforward_modules: names = []} = fields;
    const isInput = Array.isArray(names) ? names.some(name => path.endsWith(String(name))) : isRow(l.shape);
    const [inputs = 1, outputs = 1] = kernelShape.slice(-2);
    return {
      method: isInput ? 'ia3-feedforward' : 'ia3',
      strength: {rank: 1, alpha: 1, rankStabilized: false},
      values: {ia3_l: sized('ia3_l', l, [isInput ? inputs : outputs])},
    };
  },
  write: ({method, strength}, axes, valueOf) => {
    const {data = new Float32Array()} = valueOf('ia3_l') ?? {};
    const scaling = scalingOf(strength);
    const l = scaling === 1 ? data : data.map(value => 1 + scaling * (value - 1));
    const isColumn = axes === 2 && method === 'ia3';
    const shape = isColumn ? [l.length, 1] : [1, l.length, ...Array<number>(axes - 2).fill(1)];
    return {ia3_l: {shape, data: l}};
  },
};

/** Whether a factor for each channel is one of a Linear's inputs, `[1, in]`, and not of its outputs, `[out, 1]`. */
function isRow(shape: readonly number[]): boolean {
  if (shape.length > 2) {
    throw new LoRAError(
      'the factors of a convolution look alike for inputs and outputs, and feedforward_modules is an expression. ' +
        'Write it as a list.',
    );
  }
  return shape[0] === 1 && (shape[1] ?? 1) > 1;
}
