import {LoRAError, show} from '../platform/errors';
import {capabilities, type KernelSource} from './shared/capabilities';
import {wantFusedSums} from './shared/tryOut';

/**
 * Tells what the current backend computes a training step with.
 *
 * On wasm that is `'module'`, our own module in the memory of the backend. It reaches that memory through private
 * fields of tfjs, and is used where these exist and its results match those of the backend's own kernels bit for bit.
 * Otherwise, or without SIMD, it is `'composed'`: slower, with the same results up to rounding.
 *
 * On webgpu and webgl it is `'programs'` once our programs have been tested there and returned the right values: a step
 * launches a fraction of what it would. Until then, which is the time of one read from the graphics card, and on every
 * other backend it is `'backend'`.
 *
 * @returns `'module'`, `'composed'`, `'programs'` or `'backend'`.
 */
export function loraKernels(): KernelSource {
  return capabilities().source ?? 'backend';
}

/**
 * Lets training on wasm compute `a·b + c` in one instruction of relaxed SIMD, where the engine has it: Chrome from 114
 * on, Node from 21 on. A step then takes a seventh less. Its sums have other last bits, which depend on the processor;
 * `predict` keeps its own. It is off until it is asked for.
 *
 * @returns whether the current backend computes so now. A backend that is loaded later does too, where it can.
 * @param wanted whether to use it.
 * @throws LoRAError `ERR_OPTION` if `wanted` is no boolean.
 * @example
 *     if (!useRelaxedSIMD()) console.log('This engine has no relaxed SIMD.');
 * @experimental
 */
export function useRelaxedSIMD(wanted = true): boolean {
  if (typeof wanted !== 'boolean') {
    throw new LoRAError(`useRelaxedSIMD expects true or false, got ${show(wanted)}.`);
  }
  wantFusedSums(wanted);
  return wanted && (capabilities().hasFusedSums?.() ?? false);
}
