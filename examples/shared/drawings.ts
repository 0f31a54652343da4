import {Resvg} from '@resvg/resvg-js';

/**
 * Leaves out what repeats another drawing in another skin tone or sex, lest a drawing be held out of which the training
 * set has a twin.
 */
export function isDistinct(name: string): boolean {
  return !/-(?:light|medium|dark)$|^(?:man|woman|men|women)-/.test(name);
}

/** The pixels of an SVG body of 32 × 32 units on white: `size · size · 3` values of 0–255. */
export function rasterise(body: string, size: number): Float32Array {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${body}</svg>`;
  const {pixels} = new Resvg(svg, {
    fitTo: {mode: 'width', value: size},
    background: 'white',
    font: {loadSystemFonts: false},
  }).render();
  // RGBA → RGB
  return Float32Array.from({length: size * size * 3}, (_, i) => pixels[Math.floor(i / 3) * 4 + (i % 3)]!);
}

/** A Fisher–Yates shuffle. */
export function shuffled<T>(items: T[], seed: number): T[] {
  const random = mulberry32(seed);
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [result[i], result[j]] = [result[j]!, result[i]!];
  }
  return result;
}

/** A small seeded generator of numbers in [0, 1): Math.random cannot be seeded. */
export function mulberry32(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
