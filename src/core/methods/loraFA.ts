import {lora} from './lora';
import type {Method} from './method';

/**
 * LoRA-FA: LoRA in which only the factor that starts at zero trains. The random one has no gradient, so that the
 * backward pass keeps `x ∗ A`, with `rank` channels, instead of `x`, where the other's gradient is `(x ∗ A)ᵀ·dz`.
 * (Zhang et al., "LoRA-FA", arXiv 2308.03303, §3.)
 */
export const loraFA: Method = {
  ...lora,
  name: 'lora-fa',
  parameters: (weight, rank, start) =>
    lora.parameters(weight, rank, start).map(spec => ({...spec, trains: spec.neutralAtStart})),
};
