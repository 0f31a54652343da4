/**
 * A discrete Fourier transform of one size, in doubles: mixed radix, so that sizes such as 400 need no padding. Sizes
 * with a large prime factor `p` take `size · p` steps.
 */
export class FFT {
  /** The radix of each level, the outermost first. */
  private readonly factors: readonly number[];
  private readonly cos: Float64Array;
  private readonly sin: Float64Array;
  /** The inputs of one butterfly. */
  private readonly real: Float64Array;
  private readonly imaginary: Float64Array;
  /** The real and imaginary parts of the result, `[size]`. The next call overwrites them. */
  readonly re: Float64Array;
  readonly im: Float64Array;

  constructor(readonly size: number) {
    this.factors = factorsOf(size);
    const angle = (k: number) => (-2 * Math.PI * k) / size;
    this.cos = Float64Array.from({length: size}, (_, k) => Math.cos(angle(k)));
    this.sin = Float64Array.from({length: size}, (_, k) => Math.sin(angle(k)));
    const most = Math.max(1, ...this.factors);
    [this.real, this.imaginary] = [new Float64Array(most), new Float64Array(most)];
    [this.re, this.im] = [new Float64Array(size), new Float64Array(size)];
  }

  /**
   * Computes `X[k] = Σ x[n] · exp(−2πi·k·n / size)` into `re` and `im`.
   *
   * @param re the real parts, `[size]`.
   * @param im the imaginary parts, `[size]`.
   */
  transform(re: Float64Array, im: Float64Array): void {
    this.level(0, this.size, 0, 0, re, im);
  }

  /** Transforms `length` inputs, `size / length` apart. */
  private level(level: number, length: number, from: number, to: number, re: Float64Array, im: Float64Array): void {
    if (length === 1) {
      this.re[to] = re[from] as number;
      this.im[to] = im[from] as number;
      return;
    }
    const radix = this.factors[level] as number;
    const subLength = length / radix;
    const stride = this.size / length;
    for (let q = 0; q < radix; q++) {
      this.level(level + 1, subLength, from + q * stride, to + q * subLength, re, im);
    }
    for (let k = 0; k < subLength; k++) {
      this.rotate(to + k, subLength, radix, k * stride);
      if (radix === 4) {
        this.combineFour(to + k, subLength);
      } else {
        this.combine(to + k, subLength, radix);
      }
    }
  }

  /** Multiplies the values `part` apart from `at` on by powers of a root of unity. */
  private rotate(at: number, subLength: number, radix: number, turn: number): void {
    for (let q = 0; q < radix; q++) {
      const c = this.cos[q * turn] as number;
      const s = this.sin[q * turn] as number;
      const x = this.re[at + q * subLength] as number;
      const y = this.im[at + q * subLength] as number;
      this.real[q] = x * c - y * s;
      this.imaginary[q] = x * s + y * c;
    }
  }

  private combine(at: number, subLength: number, radix: number): void {
    const step = this.size / radix;
    for (let r = 0; r < radix; r++) {
      let x = 0;
      let y = 0;
      for (let q = 0; q < radix; q++) {
        const angle = ((q * r) % radix) * step;
        const c = this.cos[angle] as number;
        const s = this.sin[angle] as number;
        const a = this.real[q] as number;
        const b = this.imaginary[q] as number;
        x += a * c - b * s;
        y += a * s + b * c;
      }
      this.re[at + r * subLength] = x;
      this.im[at + r * subLength] = y;
    }
  }

  /** The same for four values, whose roots are ±1 and ±i. */
  private combineFour(at: number, subLength: number): void {
    const [a, b, c, d] = this.real as unknown as [number, number, number, number];
    const [e, f, g, h] = this.imaginary as unknown as [number, number, number, number];
    const {re, im} = this;
    re[at] = a + c + (b + d);
    im[at] = e + g + (f + h);
    re[at + subLength] = a - c + (f - h);
    im[at + subLength] = e - g - (b - d);
    re[at + 2 * subLength] = a + c - (b + d);
    im[at + 2 * subLength] = e + g - (f + h);
    re[at + 3 * subLength] = a - c - (f - h);
    im[at + 3 * subLength] = e - g + (b - d);
  }
}

/** Fours first, which take the fewest steps, then primes. */
function factorsOf(size: number): number[] {
  const factors: number[] = [];
  let remaining = size;
  const divide = (factor: number) => {
    for (; remaining % factor === 0; remaining /= factor) {
      factors.push(factor);
    }
  };
  divide(4);
  for (let factor = 2; factor * factor <= remaining; factor++) {
    divide(factor);
  }
  return remaining > 1 ? [...factors, remaining] : factors;
}
