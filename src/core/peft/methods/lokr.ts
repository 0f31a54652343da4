import {LoRAError, showShape} from '../../../platform/errors';
import {toTorch, type Values} from '../../../platform/formats/layout';
import {fromTorch, multiply} from './torchLayout';
import {flattened, type PEFTForm, sized, tensorOf} from './form';

/** LoKr: the Kronecker product of `lokr_w1` and `lokr_w2`, each whole or as a product of two factors. */
export const lokr: PEFTForm = {
  type: 'LOKR',
  methods: ['lokr'],
  axes: [2, 3, 4],
  conv1d: false,
  rank: 'r',
  alpha: 'alpha',
  parameters: ['lokr_w1', 'lokr_w1_a', 'lokr_w1_b', 'lokr_w2', 'lokr_w2_a', 'lokr_w2_b'],
  refused: ['use_effective_conv2d'],
  only: {decompose_factor: -1},
  config: ({r, alpha, patterns}) => ({
    ...patterns,
    alpha,
    decompose_both: false,
    decompose_factor: -1,
    r,
    use_effective_conv2d: false,
  }),
  read: (update, kernelShape) => {
    const {tensors, strength} = update;
    const space = kernelShape.slice(0, -2);
    const [inputs = 1, outputs = 1] = kernelShape.slice(-2);
    const w1 =
      tensors.get('lokr_w1') ??
      product(tensorOf(update, 'lokr_w1_a'), tensorOf(update, 'lokr_w1_b'), [outputs, inputs]);
    const fullW2 = tensors.get('lokr_w2');
    const factors = () => {
      const b = tensorOf(update, 'lokr_w2_b');
      const unfolded = sized('lokr_w2_b', b, [b.shape[0] ?? 1, inputs / (w1.shape[1] ?? 1), ...space]);
      return {lokr_w2_a: fromTorch(tensorOf(update, 'lokr_w2_a')), lokr_w2_b: fromTorch(unfolded)};
    };
    const w2 = fullW2 === undefined ? factors() : {lokr_w2: fromTorch(fullW2)};
    return {method: 'lokr', strength, values: {lokr_w1: fromTorch(w1), ...w2}};
  },
  write: (_update, _axes, valueOf) =>
    Object.fromEntries(
      lokr.parameters.flatMap(name => {
        const factor = valueOf(name);
        return factor === undefined
          ? []
          : [[name, name === 'lokr_w2_b' ? flattened(toTorch(factor)) : toTorch(factor)]];
      }),
    ),
};

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
