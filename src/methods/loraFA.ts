import {lora} from './lora';
import type {Method} from './method';

/**
 * LoRA-FA: LoRA whose random factor stays as it starts, so that only the other trains. It has no gradient, and where that of the other is
 * `(x ∗ A)ᵀ·dz` the backward pass keeps the `rank` channels of `x ∗ A` instead of `x`. (Zhang et al., "LoRA-FA", arXiv 2308.03303, §3.)
 */
export const loraFA: Method = {
  ...lora,
  name: 'lora-fa',
  parameters: (weight, rank, start) =>
    lora.parameters(weight, rank, start).map(spec => ({...spec, trains: spec.neutralAtStart})),
};
