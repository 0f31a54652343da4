import {writeFileSync} from 'node:fs';

/**
 * What Chromium shows as its camera: a film of square pictures, red, green and blue from 0 to 255 of each pixel, one
 * after the other and from the beginning again.
 */
export function writeFilm(path: string, pictures: readonly Uint8Array[], side: number): string[] {
  const frames = pictures.flatMap(picture => [Buffer.from('FRAME\n'), planesOf(picture, side)]);
  writeFileSync(path, Buffer.concat([Buffer.from(`YUV4MPEG2 W${side} H${side} F10:1 Ip A1:1 C420jpeg\n`), ...frames]));
  return [
    '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
    `--use-file-for-fake-video-capture=${path}`,
  ];
}

/** Light of each pixel, and two colours of each two by two, by BT.601. */
function planesOf(picture: Uint8Array, side: number): Buffer {
  const light = Buffer.alloc(side * side);
  const colours = [Buffer.alloc((side * side) / 4), Buffer.alloc((side * side) / 4)] as const;
  for (let i = 0; i < side * side; i++) {
    const [red = 0, green = 0, blue = 0] = picture.subarray(3 * i, 3 * i + 3);
    light[i] = 16 + 0.257 * red + 0.504 * green + 0.098 * blue;
    const [x, y] = [i % side, Math.floor(i / side)];
    if (x % 2 === 0 && y % 2 === 0) {
      const at = (y * side) / 4 + x / 2;
      colours[0][at] = 128 - 0.148 * red - 0.291 * green + 0.439 * blue;
      colours[1][at] = 128 + 0.439 * red - 0.368 * green - 0.071 * blue;
    }
  }
  return Buffer.concat([light, ...colours]);
}
