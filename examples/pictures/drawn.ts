import {mulberry32} from '../shared/random';

/** Draws an image of a class, differently for each seed: the body of an SVG of 32 × 32 units. */
export type Draw = (seed: number) => string;

interface Chance {
  /** A number between two. */
  between: (low: number, high: number) => number;
  /** An item of a list. */
  of: <T>(items: readonly T[]) => T;
}

function chanceOf(seed: number): Chance {
  const random = mulberry32(seed);
  return {
    between: (low, high) => low + (high - low) * random(),
    of: items => items[Math.floor(items.length * random())]!,
  };
}

/** What differs between expressions. Lengths are in units of the head's radius, and angles in degrees. */
interface Expression {
  /** How far the corners of the mouth are above its middle. */
  smile: readonly [low: number, high: number];
  /** How far the mouth is open. */
  open: readonly [low: number, high: number];
  /** The size of the eyes. */
  eyes: readonly [low: number, high: number];
  /** How far the outer ends of the brows are above the inner ones. */
  brows: readonly [low: number, high: number];
  /** How far the brows are above the eyes. */
  raised: readonly [low: number, high: number];
}

const EXPRESSIONS: Record<string, Expression> = {
  happy: {smile: [0.12, 0.3], open: [0, 0.16], eyes: [0.08, 0.12], brows: [-0.04, 0.08], raised: [0.18, 0.26]},
  sad: {smile: [-0.28, -0.1], open: [0, 0.08], eyes: [0.07, 0.11], brows: [-0.22, -0.08], raised: [0.16, 0.24]},
  angry: {smile: [-0.22, -0.02], open: [0, 0.16], eyes: [0.07, 0.11], brows: [0.1, 0.26], raised: [0.12, 0.18]},
  surprised: {smile: [-0.06, 0.06], open: [0.2, 0.4], eyes: [0.1, 0.15], brows: [-0.08, 0.06], raised: [0.26, 0.36]},
};

/** Faces with expressions: hair, glasses, colors and the place on the page vary in each of them. */
export const FACES: Record<string, Draw> = Object.fromEntries(
  Object.entries(EXPRESSIONS).map(([name, expression]) => [name, seed => face(expression, chanceOf(seed))]),
);

function face({smile, open, eyes, brows, raised}: Expression, {between, of}: Chance): string {
  const radius = between(7.5, 12);
  const [x, y] = [between(radius + 1, 31 - radius), between(radius + 2, 31 - radius)];
  const unit = (value: number) => (radius * value).toFixed(2);
  const skin = of(['#ffd9b0', '#f0c094', '#c98d5f', '#8d5a36', '#ffdf57', '#bfe3ff', '#ffffff']);
  const hair = of(['#3a2a1c', '#8a5a2b', '#d9b256', '#777777', '#b5442b', 'none']);
  const ink = of(['#1a1a1a', '#3b2417', '#20304f']);
  const [apart, height] = [between(0.32, 0.45), between(0.05, 0.22)];
  const eye = between(...eyes);
  const [up, tilt, thick] = [between(...raised), between(...brows), between(0.05, 0.09)];
  const glasses = of([true, false, false]);
  const side = (sign: number) => {
    const center = `cx="${unit(sign * apart)}" cy="${unit(-height)}"`;
    const [inner, outer] = [sign * (apart - 0.16), sign * (apart + 0.16)];
    return (
      `<ellipse ${center} rx="${unit(eye)}" ry="${unit(eye * 1.25)}" fill="${ink}"/>` +
      `<path d="M${unit(inner)} ${unit(-height - up + tilt / 2)} L${unit(outer)} ${unit(-height - up - tilt / 2)}"/>` +
      (glasses ? `<circle ${center} r="${unit(0.25)}" stroke-width="${unit(0.04)}"/>` : '')
    );
  };
  const [wide, down, curve, gap] = [between(0.2, 0.38), between(0.38, 0.5), between(...smile), between(...open)];
  const corner = down - curve / 2;
  const lip = (bend: number) => `Q0 ${unit(down + curve / 2 + bend)} `;
  const mouth =
    `M${unit(-wide)} ${unit(corner)} ${lip(curve / 2 - gap)}${unit(wide)} ${unit(corner)} ` +
    `${lip(curve / 2 + gap)}${unit(-wide)} ${unit(corner)}Z`;
  return (
    `<rect width="32" height="32" fill="${of(['#ffffff', '#e8f0e0', '#dfe6f2', '#f6e7d8', '#d7d7d7'])}"/>` +
    `<g transform="translate(${x.toFixed(2)} ${y.toFixed(2)}) rotate(${between(-12, 12).toFixed(1)})" fill="none" ` +
    `stroke="${ink}" stroke-width="${unit(thick)}" stroke-linecap="round">` +
    `<circle r="${unit(1)}" fill="${skin}"/>` +
    `<path d="M${unit(-0.95)} ${unit(-0.3)} Q0 ${unit(between(-1.9, -1.4))} ${unit(0.95)} ${unit(-0.3)} ` +
    `Q0 ${unit(between(-1.1, -0.7))} ${unit(-0.95)} ${unit(-0.3)}Z" fill="${hair}" stroke="none"/>` +
    `${side(-1)}${side(1)}<path d="${mouth}" fill="${gap > 0.05 ? '#7a2323' : 'none'}"/></g>`
  );
}

/** A line from left to right in a pattern whose period is 1. */
type Line = (start: number, count: number) => string;

const LINES: Record<string, Line> = {
  dashes: (start, count) => repeated(start, count, x => `M${x} 0 h0.6`),
  waves: (start, count) => `M${start} 0${repeated(start, count, () => ' q0.25 -0.5 0.5 0 t0.5 0')}`,
  zigzags: (start, count) => `M${start} 0${repeated(start, count, () => ' l0.25 -0.3 l0.5 0.6 l0.25 -0.3')}`,
  scallops: (start, count) => `M${start} 0${repeated(start, count, () => ' a0.5 0.4 0 0 1 1 0')}`,
};

function repeated(start: number, count: number, piece: (x: number) => string): string {
  return Array.from({length: count}, (_, i) => piece(start + i)).join('');
}

/** Textures of equal lines, which differ in their form alone: scale, angle, thickness and colors vary. */
export const TEXTURES: Record<string, Draw> = Object.fromEntries(
  Object.entries(LINES).map(([name, line]) => [name, seed => texture(line, chanceOf(seed))]),
);

function texture(line: Line, {between, of}: Chance): string {
  const [scale, spread] = [between(2.5, 5.5), between(0.75, 1.1)];
  const [hue, turn] = [between(0, 360), of([60, 120, 180, 240])];
  const color = (angle: number, light: number) => `hsl(${(angle % 360).toFixed(0)}, 45%, ${light.toFixed(0)}%)`;
  const isDark = of([true, false]);
  const [ground, ink] = [between(78, 94), between(22, 48)];
  const lines = Array.from({length: 30}, (_, row) => {
    const [y, shift] = [(row - 15) * spread + between(-0.04, 0.04), between(-0.5, 0.5)];
    return `<path transform="translate(${shift.toFixed(2)} ${y.toFixed(2)})" d="${line(-12, 24)}"/>`;
  });
  return (
    `<rect width="32" height="32" fill="${color(hue, isDark ? ink : ground)}"/>` +
    `<g transform="translate(16 16) rotate(${between(0, 180).toFixed(1)}) scale(${scale.toFixed(2)})" fill="none" ` +
    `stroke="${color(hue + turn, isDark ? ground : ink)}" stroke-width="${between(0.08, 0.18).toFixed(3)}">` +
    `${lines.join('')}</g>`
  );
}
