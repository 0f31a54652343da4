import {LoRAError, show} from '../../../platform/errors';
import {isTakingGradient} from '../../../platform/tfjs/engine';

/** How quantized layers multiply their inputs. */
export type QuantizedActivations = 'float32' | 'int8';

let areRounded = false;

/**
 * Sets how quantized layers multiply their inputs when at most four positions are computed at a time, as for each
 * generated token: unrounded, or rounded to 8 bits in groups of 32 values with a scale, as llama.cpp does. With
 * `'int8'`, the products are computed in integers, which is faster. It applies on WASM to weights in Q8_0, Q4_0, Q4_1,
 * Q4_K and Q6_K. Longer inputs, such as prompts, and training are never rounded.
 *
 * A value is off by at most 1/254 of the largest in its group. Rounding every input of SmolLM2-135M raises its
 * perplexity on 20 English texts by 0.17 %. `generate` and `openChat` take the same setting for one call, as
 * `quantizedActivations`.
 *
 * @param type `'int8'` or `'float32'`. Until this is called, it is `'float32'`.
 * @throws LoRAError `ERR_OPTION` if `type` is neither.
 * @example
 * setQuantizedActivations('int8');
 * @experimental
 */
export function setQuantizedActivations(type: QuantizedActivations): void {
  if (!areQuantizedActivations(type)) {
    throw new LoRAError(`setQuantizedActivations takes 'float32' or 'int8', got ${show(type)}.`);
  }
  areRounded = type === 'int8';
}

export function areQuantizedActivations(type: unknown): type is QuantizedActivations {
  return type === 'float32' || type === 'int8';
}

/** Runs a computation with another setting; `undefined` leaves it as it is. */
export function withQuantizedActivations<T>(type: QuantizedActivations | undefined, f: () => T): T {
  const before = areRounded;
  areRounded = type === undefined ? before : type === 'int8';
  try {
    return f();
  } finally {
    areRounded = before;
  }
}

/** Whether inputs are rounded now: never while a gradient is taken. */
export function areActivationsRounded(): boolean {
  return areRounded && !isTakingGradient();
}
