/** Where the lines of an axis stand, and what is written beside each. */
export interface Tick {
  at: number;
  text: string;
}

/** Round numbers from `from` to `to`, about `count` of them, as short as they can be told apart. */
export function ticksOf(from: number, to: number, count: number): Tick[] {
  const step = roundStep((to - from) / Math.max(count, 1));
  const first = Math.ceil(from / step - 1e-9);
  const last = Math.floor(to / step + 1e-9);
  return Array.from({length: last - first + 1}, (_, i) => {
    const at = (first + i) * step;
    return {at, text: textOf(at, step)};
  });
}

/** The smallest of 1, 2, 5, 10, 20 … and of 0.5, 0.2, 0.1 … that is no less than `least`. */
function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least) + 1e-9);
  return power * [1, 2, 5, 10].find(factor => factor * power >= least * (1 - 1e-9))!;
}

/** With as many decimals as the step has, and in powers of ten where those would be many. */
function textOf(value: number, step: number): string {
  if (Math.abs(value) < step / 2) {
    return '0';
  }
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  if (decimals <= 3 && Math.abs(value) < 1e5) {
    return value.toFixed(decimals);
  }
  const digits = Math.floor(Math.log10(Math.abs(value)) + 1e-9) - Math.floor(Math.log10(step) + 1e-9);
  return value.toExponential(Math.max(0, digits)).replace('e+', 'e');
}
