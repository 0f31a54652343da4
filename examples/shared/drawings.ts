import {Resvg} from '@resvg/resvg-js';

/**
 * Leaves out variants of a drawing in another skin tone or gender, so that no held-out drawing has a twin in the
 * training set.
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
