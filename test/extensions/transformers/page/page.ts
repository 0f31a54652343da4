// What the test of images in a browser calls: each kind of image that a page has, of the same colors.

import * as tf from '@tensorflow/tfjs';
import {encodeImages} from '../../../../src/images';

declare global {
  interface Window {
    /** What `encodeImages` makes of an image in each of its kinds. */
    encoded: () => Promise<Record<string, number[]>>;
    isReady: boolean;
  }
}

const [WIDTH, HEIGHT] = [13, 9];
const PREPROCESSOR = {image_processor_type: 'CLIPImageProcessor', size: {shortest_edge: 6}, crop_size: 5};

window.encoded = async () => {
  await tf.setBackend('cpu');
  const input = tf.input({shape: [null, null, 3]});
  const model = tf.model({
    inputs: input,
    outputs: tf.layers.activation({activation: 'relu'}).apply(input) as tf.SymbolicTensor,
  });
  const data = new Uint8ClampedArray(WIDTH * HEIGHT * 4);
  data.forEach((_, i) => (data[i] = i % 4 === 3 ? 255 : (i * 37) % 256));
  const imageData = new ImageData(data, WIDTH, HEIGHT);
  const canvas = Object.assign(document.createElement('canvas'), {width: WIDTH, height: HEIGHT});
  canvas.getContext('2d')!.putImageData(imageData, 0, 0);
  const blob = await new Promise<Blob>(resolve => canvas.toBlob(made => resolve(made!)));
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  await image.decode();
  const offscreen = new OffscreenCanvas(WIDTH, HEIGHT);
  offscreen.getContext('2d')!.putImageData(imageData, 0, 0);
  const images = {imageData, canvas, blob, image, offscreen, bitmap: await createImageBitmap(imageData)};
  const results: Record<string, number[]> = {};
  for (const [name, image] of Object.entries(images)) {
    const pixels = await encodeImages(model, image, {preprocessor: PREPROCESSOR});
    results[name] = Array.from(await pixels.data());
    pixels.dispose();
  }
  return results;
};
window.isReady = true;
