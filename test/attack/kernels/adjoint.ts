import type {KernelCase} from './case';
import type {Outcome} from './outcome';

/** Whether gradients are not the adjoint of a linear operation: ⟨f(x), w⟩ = ⟨x, f*(w)⟩. */
export function faultOfAdjoint({what, operands, isLinear}: KernelCase, {results, gradients, weights, values}: Outcome) {
  if (isLinear !== true || typeof results === 'string' || typeof gradients === 'string' || gradients.length === 0) {
    return undefined;
  }
  const whole = dot(
    results.map(result => result.values as ArrayLike<number>),
    weights,
  );
  const floats = values.filter((_, i) => operands[i]!.below === undefined);
  // Of a product, linear in each of two operands, each gradient gives the whole; else they share it.
  const shares = gradients.map((gradient, i) =>
    dot([gradient.values as ArrayLike<number>], [floats[i] as Float32Array]),
  );
  const all = what.startsWith('concat') ? [shares.reduce((sum, share) => sum + share)] : shares;
  const most = 1e-4 * (1 + Math.sqrt(weights.reduce((count, {length}) => count + length, 0)) + Math.abs(whole));
  const wrong = all.find(share => !(Math.abs(share - whole) < most));
  return wrong === undefined ? undefined : `The gradient of ${what} is not its adjoint: ${wrong}, not ${whole}`;
}

function dot(a: readonly ArrayLike<number>[], b: readonly ArrayLike<number>[]): number {
  return a.reduce((total, numbers, i) => {
    let sum = total;
    for (let j = 0; j < numbers.length; j++) {
      sum += numbers[j]! * b[i]![j]!;
    }
    return sum;
  }, 0);
}
