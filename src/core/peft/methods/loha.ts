import {LoRAError} from '../../../platform/errors';
import {toTorch, type Values} from '../../../platform/formats/layout';
import {fromTorch} from './torchLayout';
import {type TfjsUpdate, withinRankLimit} from './update';
import {flattened, type PEFTForm, sized, tensorOf} from './form';

/** LoHa: two low-rank products, `hada_w1_a·hada_w1_b` and the same of `w2`, multiplied entry by entry. */
export const loha: PEFTForm = {
  type: 'LOHA',
  methods: ['loha'],
  axes: [2, 3, 4],
  conv1d: false,
  rank: 'r',
  alpha: 'alpha',
  parameters: ['hada_w1_a', 'hada_w1_b', 'hada_w2_a', 'hada_w2_b'],
  refused: ['use_effective_conv2d'],
  config: ({r, alpha, patterns}) => ({...patterns, alpha, r, use_effective_conv2d: false}),
  read: (update, kernelShape) => {
    const {strength} = update;
    const space = kernelShape.slice(0, -2);
    const [inputs = 1] = kernelShape.slice(-2);
    const [first, second] = ['hada_w1', 'hada_w2'].map(name => {
      const [a, b] = [tensorOf(update, `${name}_a`), tensorOf(update, `${name}_b`)];
      const [rank = 1] = b.shape;
      if (rank !== strength.rank || a.shape[1] !== rank) {
        throw new LoRAError(
          `its ${name} has factors of rank ${a.shape[1] ?? 1} and ${rank}, and the config says ${strength.rank}.`,
        );
      }
      const unfolded = sized(`${name}_b`, b, [rank, inputs, ...space]);
      return withinRankLimit({a: fromTorch(unfolded), b: fromTorch(a), strength});
    }) as [TfjsUpdate, TfjsUpdate];
    return {
      method: 'loha',
      strength: first.strength,
      values: {hada_w1_a: first.b, hada_w1_b: first.a, hada_w2_a: second.b, hada_w2_b: second.a},
    };
  },
  write: (_update, _axes, valueOf) =>
    Object.fromEntries(
      loha.parameters.map(name => {
        const torch = toTorch(valueOf(name) as Values);
        return [name, name.endsWith('_b') ? flattened(torch) : torch];
      }),
    ),
};
