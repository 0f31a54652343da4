/** The closest multiple of `divisor` from `least` on; the next one if it is more than a tenth smaller than `value`. */
export function divisible(value: number, divisor: number, least = divisor): number {
  const closest = Math.max(least, Math.floor(Math.trunc(value + divisor / 2) / divisor) * divisor);
  return closest < 0.9 * value ? closest + divisor : closest;
}
