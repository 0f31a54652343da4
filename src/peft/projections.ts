import {LoRAError} from '../errors';
import {toTorch, type Values} from '../formats/layout';
import type {LayerConfig} from '../layers/adaptation';
import {PEFT_NAMES} from './files';

/**
 * The two matrices that all layers of VeRA have the first rows and columns of, as PEFT stores them: `vera_A`, `[rank, in]`, and `vera_B`, `[out, rank]`.
 *
 * @throws LoRAError if the layers have different ones, or different ranks.
 */
export function sharedProjections(
  layers: Readonly<Record<string, LayerConfig>>,
  values: Readonly<Record<string, Values>>,
): Record<string, Values> {
  const paths = Object.keys(layers).filter(path => layers[path]?.method === 'vera');
  const ranks = new Set(paths.map(path => layers[path]?.rank));
  // With a row for each input or output, the smaller one is a beginning of the larger.
  const largest = (name: string, inRows: (own: Values) => Values): Values => {
    const all = paths.map(path => inRows(values[`${path}/${name}`] as Values));
    const [first, ...others] = all.sort((one, other) => other.data.length - one.data.length);
    if (ranks.size > 1 || !others.every(({data}) => data.every((value, i) => value === first?.data[i]))) {
      throw new LoRAError(
        'The adapter cannot be written for PEFT: its layers have random factors of their own, and in VeRA of PEFT all have parts of the same.',
      );
    }
    return first as Values;
  };
  return {
    [`${PEFT_NAMES.root}vera_A`]: toTorch(largest('vera_A', own => own)),
    [`${PEFT_NAMES.root}vera_B`]: largest('vera_B', toTorch),
  };
}
