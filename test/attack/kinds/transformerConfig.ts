import {LoRAError} from 'tfjs-lora';
import {computed, configsOf, FAMILIES, faultOf, type Ways} from '../../extensions/transformers/configs';
import {below, pick} from '../damage';
import {type AttackKind, mustHold} from '../kind';

/** The most places that every table of places holds. */
const PLACES = 7;

/**
 * Valid and strange configs of every family, which give what PyTorch gave, in whatever way they are loaded and filled
 * up, or are refused.
 */
export const transformerConfig: AttackKind = {
  name: 'a config of a transformer',
  prepare() {
    const cases = FAMILIES.flatMap(family => configsOf(family).cases);
    return {
      whole: [],
      make: random => ({
        number: below(random, cases.length),
        ways: {checkpoint: pick(random, [true, false]), streams: pick(random, [true, false]), more: below(random, 3)},
      }),
      models: [],
      async use({number, ways}) {
        const each = cases[number as number]!;
        const {more = 0, ...others} = ways as Ways;
        // What is added changes PyTorch's results as well where SigLIP pools the last position, and where DeBERTa pools
        // padding in front, which attends to all positions.
        const isHidden = !['siglip', 'siglip2'].includes(each.family) && each.mask.every(([first]) => first === 1);
        const left = isHidden ? PLACES - (each.ids[0]?.length ?? PLACES) : 0;
        const result = await computed(each, {...others, more: Math.min(more, left)});
        const fault = faultOf(each, result);
        mustHold(fault === undefined, `${each.family}, case ${each.seed}: ${fault}`);
        if (result instanceof LoRAError) {
          throw result;
        }
      },
    };
  },
};
