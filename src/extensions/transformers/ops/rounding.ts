/** Rounds to the closest integer; from the middle of two to the even one, like Python and NumPy. */
export function roundToEven(value: number): number {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below % 2) : Math.round(value);
}
