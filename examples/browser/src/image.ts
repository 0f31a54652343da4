import {PIXELS, SIDE} from './format';

/** The larger side of a digit in the training images of the base model. */
const DIGIT_SIDE = 20;

/**
 * The drawing on a canvas in the format of the digit images: scaled to 20 pixels, its center of mass in the middle of
 * 28×28 pixels. `null` if nothing is drawn.
 */
export function imageOf(canvas: HTMLCanvasElement): Uint8Array | null {
  const {width, height} = canvas;
  const ink = inkOf(canvas);
  const box = {left: width, top: height, right: -1, bottom: -1};
  const centre = {x: 0, y: 0, mass: 0};
  ink.forEach((value, i) => {
    if (value > 0) {
      const [x, y] = [i % width, Math.floor(i / width)];
      box.left = Math.min(box.left, x);
      box.right = Math.max(box.right, x);
      box.top = Math.min(box.top, y);
      box.bottom = Math.max(box.bottom, y);
      centre.x += value * (x + 0.5);
      centre.y += value * (y + 0.5);
      centre.mass += value;
    }
  });
  if (centre.mass === 0) {
    return null;
  }
  const scale = DIGIT_SIDE / Math.max(box.right - box.left + 1, box.bottom - box.top + 1);
  const small = new OffscreenCanvas(SIDE, SIDE);
  const context = small.getContext('2d')!;
  context.imageSmoothingQuality = 'high';
  context.translate(SIDE / 2, SIDE / 2);
  context.scale(scale, scale);
  context.drawImage(canvas, -centre.x / centre.mass, -centre.y / centre.mass);
  const {data} = context.getImageData(0, 0, SIDE, SIDE);
  return Uint8Array.from({length: PIXELS}, (_, i) => data[4 * i + 3]!);
}

/** An image as a canvas holds it: white, as opaque as it is bright. */
export function pictureOf(image: Uint8Array): ImageData {
  const picture = new ImageData(SIDE, SIDE);
  picture.data.fill(255);
  image.forEach((value, i) => (picture.data[4 * i + 3] = value));
  return picture;
}

function inkOf(canvas: HTMLCanvasElement): Uint8Array {
  const {data} = canvas.getContext('2d', {willReadFrequently: true})!.getImageData(0, 0, canvas.width, canvas.height);
  return Uint8Array.from({length: data.length / 4}, (_, i) => data[4 * i + 3]!);
}
