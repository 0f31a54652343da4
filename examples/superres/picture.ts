import {writeFileSync} from 'node:fs';
import {Resvg} from '@resvg/resvg-js';
import type * as tf from '@tensorflow/tfjs';
import {packageFile} from '../shared/packages';

/**
 * One column of the picture: its title, and images `[n, s, s, 3]` of 0–255, one for each row.
 */
export interface Column {
  title: string;
  subtitle: string;
  images: tf.Tensor4D;
}

const TILE = 192;
const GAP = 12;
const HEADER = 58;

/** Writes a PNG with the results of all methods side by side, every pixel as a square. */
export async function writePicture(file: string, columns: Column[]): Promise<void> {
  const pixels = await Promise.all(columns.map(({images}) => images.array()));
  const rows = pixels[0]!.length;
  const width = columns.length * (TILE + GAP) + GAP;
  const height = HEADER + rows * (TILE + GAP);
  const body = columns.map(({title, subtitle}, column) => {
    const left = GAP + column * (TILE + GAP);
    const middle = left + TILE / 2;
    const tiles = pixels[column]!.map((image, row) => tile(image, left, HEADER + row * (TILE + GAP)));
    return `<text x="${middle}" y="26" font-size="22">${title}</text>
      <text x="${middle}" y="47" font-size="16" fill="#666">${subtitle}</text>
      ${tiles.join('')}`;
  });
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"
    text-anchor="middle" font-family="Questrial" shape-rendering="crispEdges">${body.join('')}</svg>`;
  const font = {
    // The font comes with the project: a machine may have none.
    fontFiles: [packageFile('@expo-google-fonts/questrial/400Regular/Questrial_400Regular.ttf')],
    loadSystemFonts: false,
    defaultFontFamily: 'Questrial',
  };
  writeFileSync(file, new Resvg(svg, {background: '#f2f2f2', font}).render().asPng());
}

/** An image as SVG rectangles, one for each run of equal pixels in a line. */
function tile(image: number[][][], left: number, top: number): string {
  const scale = TILE / image.length;
  const runs = image.flatMap((line, y) => {
    const colours = line.map(rgb => `rgb(${rgb.join()})`);
    const starts = colours.flatMap((colour, x) => (colour === colours[x - 1] ? [] : [x]));
    return starts.map((x, i) => {
      const length = (starts[i + 1] ?? line.length) - x;
      return `<rect x="${x}" y="${y}" width="${length}" height="1" fill="${colours[x]!}"/>`;
    });
  });
  return `<g transform="translate(${left} ${top}) scale(${scale})">${runs.join('')}</g>`;
}
