import {mulberry32} from '../shared/random';

/** The size of the model's input: 3 channels, which come first in the file. */
export const [HEIGHT, WIDTH] = [48, 192];

/** A line of handwriting: ink from 0 to 1, by rows. */
export interface Line {
  ink: Float32Array;
  width: number;
  height: number;
}

/** The side of a handwritten digit, in pixels. */
export const SIDE = 28;

/** Writes `count` lines of four to seven digits, with other digits in each for another seed. */
export function writeLines(digits: readonly Float32Array[], count: number, seed: number): Line[] {
  const random = mulberry32(seed);
  const upTo = (most: number) => Math.floor(random() * (most + 1));
  return Array.from({length: count}, () => {
    const glyphs = Array.from({length: 4 + upTo(3)}, () => ({
      ...columnsOf(digits[upTo(digits.length - 1)]!),
      gap: 1 + upTo(3),
      drop: upTo(4),
    }));
    const width = glyphs.reduce((sum, {count: columns, gap}) => sum + columns + gap, 0);
    const height = SIDE + 4;
    const ink = new Float32Array(width * height);
    let at = 0;
    for (const {digit, first, count: columns, gap, drop} of glyphs) {
      for (let y = 0; y < SIDE; y++) {
        ink.set(digit.subarray(y * SIDE + first, y * SIDE + first + columns), (y + drop) * width + at);
      }
      at += columns + gap;
    }
    return {ink, width, height};
  });
}

/** The columns of a digit that have ink. */
function columnsOf(digit: Float32Array): {digit: Float32Array; first: number; count: number} {
  const used = Array.from({length: SIDE}, (_, x) => x).filter(x =>
    Array.from({length: SIDE}, (__, y) => digit[y * SIDE + x]!).some(ink => ink > 0.3),
  );
  return {digit, first: used[0]!, count: used.at(-1)! - used[0]! + 1};
}

/** A line upside down. */
export function upsideDown(line: Line): Line {
  return {...line, ink: Float32Array.from(line.ink).reverse()};
}

/** A line as a mirror shows it. */
export function mirrored({ink, width, height}: Line): Line {
  return {ink: ink.map((_, i) => ink[i - (i % width) + width - 1 - (i % width)]!), width, height};
}

/** The values of the input for some lines, one after the other. */
export function valuesOf(lines: readonly Line[]): Float32Array {
  const values = new Float32Array(lines.length * 3 * HEIGHT * WIDTH);
  lines.forEach((line, i) => values.set(pixelsOf(line), i * 3 * HEIGHT * WIDTH));
  return values;
}

/**
 * A line as PP-OCR gives it to the model, `[3, 48, 192]`: the blank margin above and below is cut off, the line is
 * scaled to the height of the input, and the rest of its width is filled with zeros. Paper is 1 and ink is −1.
 */
function pixelsOf(line: Line): Float32Array {
  const {ink, width, height, top} = trimmed(line);
  const scaled = Math.min(WIDTH, Math.max(1, Math.round((HEIGHT * width) / height)));
  const plane = new Float32Array(HEIGHT * WIDTH);
  const at = (y: number, x: number) =>
    ink[(top + Math.min(height - 1, Math.max(0, y))) * width + Math.min(width - 1, Math.max(0, x))] ?? 0;
  for (let y = 0; y < HEIGHT; y++) {
    const [row, below] = split(((y + 0.5) * height) / HEIGHT - 0.5);
    for (let x = 0; x < scaled; x++) {
      const [column, right] = split(((x + 0.5) * width) / scaled - 0.5);
      const upper = at(row, column) * (1 - right) + at(row, column + 1) * right;
      const lower = at(row + 1, column) * (1 - right) + at(row + 1, column + 1) * right;
      plane[y * WIDTH + x] = 1 - 2 * (upper * (1 - below) + lower * below);
    }
  }
  return Float32Array.from({length: 3 * plane.length}, (_, i) => plane[i % plane.length]!);
}

/** The integer below a position, and the rest. */
function split(position: number): [whole: number, rest: number] {
  const whole = Math.floor(position);
  return [whole, position - whole];
}

/** The rows with ink and two around them. */
function trimmed({ink, width, height}: Line): Line & {top: number} {
  const rows = Array.from({length: height}, (_, y) => y).filter(y =>
    ink.subarray(y * width, (y + 1) * width).some(value => value > 0.3),
  );
  const top = Math.max(0, (rows[0] ?? 0) - 2);
  const bottom = Math.min(height, (rows.at(-1) ?? height - 1) + 3);
  return {ink, width, height: bottom - top, top};
}
