import {landmarksOf, type Place, type Pose} from './skeleton';

/** Red, green and blue, from 0 to 255. */
export type Colour = readonly [red: number, green: number, blue: number];

/** How a hand and its background look. */
export interface Look {
  /** The colors of the fingers, which alternate along each. */
  fingers: readonly Colour[];
  palm: Colour;
  arm: Colour;
  /** The thickness of the hand: 1 is a bare one, a glove is thicker. */
  thickness: number;
  /** The colors of the squares in the background. */
  ground: readonly Colour[];
  /** Chooses the color of each square. */
  seed: number;
  /** The direction of the light, as x and y. */
  light: readonly [number, number];
}

const [PALM, ARM] = [5, 6];

/** Between which landmarks there is something, how thick it is at both ends, of the palm's length, and whose it is. */
const BONES: readonly (readonly [from: number, to: number, thick: number, thin: number, part: number])[] = [
  ...[0.155, 0.125, 0.12, 0.12, 0.1].flatMap((thick, finger) =>
    [1, 2, 3].map(i => {
      const from = 4 * finger + i;
      return [from, from + 1, thick * (1.07 - 0.07 * i), thick * (1 - 0.07 * i), finger] as const;
    }),
  ),
  ...[5, 9, 13, 17].map(knuckle => [0, knuckle, 0.19, 0.145, PALM] as const),
  [1, 5, 0.17, 0.14, PALM],
  [0, 1, 0.2, 0.19, PALM],
  [5, 9, 0.14, 0.14, PALM],
  [9, 13, 0.14, 0.14, PALM],
  [13, 17, 0.14, 0.135, PALM],
];

/** Where a picture shows the hand: how near it is, and which colour it has there. */
interface Surface {
  /** −∞ in the background. */
  heights: Float32Array;
  colours: Uint8Array;
}

/** A square image of a hand, as RGB values from 0 to 255. */
export function drawHand(pose: Pose, look: Look, side: number): Uint8Array {
  const surface = {heights: new Float32Array(side * side).fill(-Infinity), colours: new Uint8Array(side * side)};
  const palette = [...look.fingers, look.palm, look.arm];
  const landmarks = landmarksOf(pose);
  const size = pose.size * look.thickness;
  for (const [from, to, thick, thin, part] of BONES) {
    // A bone of a finger has its first half in one colour, and its second in the next.
    const first = part === PALM ? look.fingers.length : 2 * ((from - 1) % 4);
    const turns = part === PALM ? 1 : 2;
    addBone(surface, landmarks[from]!, landmarks[to]!, [size * thick, size * thin], side, share =>
      part === PALM ? first : (first + Math.min(turns - 1, Math.floor(turns * share))) % look.fingers.length,
    );
  }
  // The arm goes on from the wrist, away from the middle finger's knuckle.
  const [wrist, knuckle] = [landmarks[0]!, landmarks[9]!];
  const end = add(wrist, knuckle, -2.5);
  addBone(surface, wrist, end, [0.22 * size, 0.3 * size], side, () => look.fingers.length + ARM - PALM);
  smooth(surface.heights, side, pose.size / 30);
  return shaded(surface, palette, look, side, pose.size);
}

/** `from + share · (to − from)`. */
function add(from: Place, to: Place, share: number): Place {
  return [0, 1, 2].map(axis => from[axis]! + share * (to[axis]! - from[axis]!)) as unknown as Place;
}

/** Draws balls from one point to another. */
function addBone(
  {heights, colours}: Surface,
  from: Place,
  to: Place,
  [thick, thin]: readonly [number, number],
  side: number,
  colourAt: (share: number) => number,
): void {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1], to[2] - from[2]);
  const count = Math.ceil(length / Math.max(1, thin / 6));
  for (let i = 0; i <= count; i++) {
    const share = i / count;
    const radius = thick + share * (thin - thick);
    const [atX, atY, atZ] = add(from, to, share);
    const colour = colourAt(share);
    const [top, bottom] = [Math.max(0, Math.floor(atY - radius)), Math.min(side - 1, Math.ceil(atY + radius))];
    const [left, right] = [Math.max(0, Math.floor(atX - radius)), Math.min(side - 1, Math.ceil(atX + radius))];
    for (let y = top; y <= bottom; y++) {
      for (let x = left; x <= right; x++) {
        const square = radius * radius - (x + 0.5 - atX) ** 2 - (y + 0.5 - atY) ** 2;
        const pixel = y * side + x;
        if (square > 0 && Math.sqrt(square) - atZ > heights[pixel]!) {
          heights[pixel] = Math.sqrt(square) - atZ;
          colours[pixel] = colour;
        }
      }
    }
  }
}

/** Takes the creases between balls away: a mean of those near by that are about as high. */
function smooth(heights: Float32Array, side: number, reach: number): void {
  const steps = Math.max(1, Math.round(reach));
  const most = 2.5 * reach;
  for (const stride of [1, side, 1, side]) {
    const from = heights.slice();
    for (let i = 0; i < from.length; i++) {
      const own = from[i]!;
      if (own > -Infinity) {
        let sum = 0;
        let count = 0;
        const last = Math.min(i + steps * stride, from.length - 1);
        for (let near = Math.max(i - steps * stride, i % stride); near <= last; near += stride) {
          if (Math.abs(from[near]! - own) < most) {
            sum += from[near]!;
            count++;
          }
        }
        heights[i] = sum / count;
      }
    }
  }
}

function shaded({heights, colours}: Surface, palette: Colour[], look: Look, side: number, size: number): Uint8Array {
  const pixels = new Uint8Array(3 * side * side);
  const [lightX, lightY] = look.light;
  const length = Math.hypot(lightX, lightY, 1);
  const squares = groundOf(look);
  const reach = Math.round(0.07 * size);
  // What is beyond an edge is far below.
  const heightAt = (i: number, own: number) => (heights[i]! > -Infinity ? heights[i]! : own - 2);
  for (let i = 0; i < heights.length; i++) {
    const own = heights[i]!;
    let colour = squares[8 * Math.floor((8 * Math.floor(i / side)) / side) + Math.floor((8 * (i % side)) / side)]!;
    let shade = 1 - (0.3 * i) / heights.length;
    if (own > -Infinity) {
      colour = palette[colours[i]!]!;
      const dx = Math.max(-3, Math.min(3, (heightAt(i + 1, own) - heightAt(i - 1, own)) / 2));
      const dy = Math.max(-3, Math.min(3, (heightAt(i + side, own) - heightAt(i - side, own)) / 2));
      const towards = (1 - dx * lightX - dy * lightY) / length / Math.sqrt(dx * dx + dy * dy + 1);
      // What lies beside something nearer is in its shadow.
      let above = 0;
      for (const near of [i + reach, i - reach, i + reach * side, i - reach * side]) {
        above = Math.max(above, heightAt(near, own) - own);
      }
      shade = (0.5 + 0.55 * Math.max(0, towards)) * (1 - 0.3 * Math.min(1, above / (0.2 * size)));
    }
    for (let channel = 0; channel < 3; channel++) {
      pixels[3 * i + channel] = Math.min(255, colour[channel]! * shade);
    }
  }
  return pixels;
}

/** The colors of eight rows of eight squares. */
function groundOf({ground, seed}: Look): Colour[] {
  let state = seed;
  return Array.from({length: 64}, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return ground[(state >>> 16) % ground.length]!;
  });
}
