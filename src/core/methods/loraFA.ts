import {lora} from './lora';
import type {Method} from './method';

/**
 * LoRA-FA: LoRA that trains only the factor that starts at zero. The random one has no gradient, so the backward pass
 * keeps `x ∗ A`, with `rank` channels, instead of `x`; the other's gradient is `(x ∗ A)ᵀ·dz`. (Zhang et al., "LoRA-FA",
 * arXiv 2308.03303, §3.)
 */
export const loraFA: Method = {
  ...lora,
  name: 'lora-fa',
  parameters: (weight, rank, start) =>
    lora.parameters(weight, rank, start).map(spec => ({...spec, trains: spec.neutralAtStart})),
};
