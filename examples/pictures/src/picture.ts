import * as tf from '@tensorflow/tfjs';
import {SIZE} from './base';

/** The middle square of a picture on white, as large as the base takes it. The browser makes it smaller smoothly. */
export function squareOf(source: CanvasImageSource, width: number, height: number): HTMLCanvasElement {
  const canvas = Object.assign(document.createElement('canvas'), {width: SIZE, height: SIZE});
  const context = canvas.getContext('2d', {willReadFrequently: true})!;
  const side = Math.min(width, height);
  context.fillStyle = 'white'; // what is transparent would be black
  context.fillRect(0, 0, SIZE, SIZE);
  context.imageSmoothingQuality = 'high';
  context.drawImage(source, (width - side) / 2, (height - side) / 2, side, side, 0, 0, SIZE, SIZE);
  return canvas;
}

/** The picture in an `<img>`. */
export async function pictureOfImage(image: HTMLImageElement): Promise<HTMLCanvasElement> {
  await image.decode();
  return squareOf(image, image.naturalWidth || SIZE, image.naturalHeight || SIZE);
}

/** The picture in a file that a user chose or dropped. */
export async function pictureOfFile(file: File): Promise<HTMLCanvasElement> {
  const image = Object.assign(new Image(), {src: URL.createObjectURL(file)});
  try {
    return await pictureOfImage(image);
  } catch {
    throw new Error(`${file.name} is no picture that this browser can read.`);
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

/** The picture as a file, which has every pixel as it is. */
export function fileOf(picture: HTMLCanvasElement): Promise<File> {
  return new Promise((resolve, reject) => {
    picture.toBlob(blob => {
      if (blob === null) {
        reject(new Error('The browser could not make a file of a picture.'));
      } else {
        resolve(new File([blob], 'picture.png', {type: blob.type}));
      }
    });
  });
}

/** Lets a `<video>` show the webcam. */
export async function openWebcam(video: HTMLVideoElement): Promise<void> {
  video.srcObject = await navigator.mediaDevices.getUserMedia({video: {width: 640, height: 480}});
  await video.play();
}

/** What the webcam shows now. */
export function pictureOfVideo(video: HTMLVideoElement): HTMLCanvasElement {
  return squareOf(video, video.videoWidth, video.videoHeight);
}

/** Turns the webcam off. */
export function closeWebcam(video: HTMLVideoElement): void {
  (video.srcObject as MediaStream | null)?.getTracks().forEach(track => track.stop());
  video.srcObject = null;
}

/** Pictures as the base takes them: `[n, SIZE, SIZE, 3]`, values from 0 to 1. */
export function tensorOf(pictures: readonly HTMLCanvasElement[]): tf.Tensor4D {
  return tf.tidy(() => {
    const pixels = pictures.map(picture => tf.browser.fromPixels(picture)); // whole numbers from 0 to 255
    return tf.div<tf.Tensor4D>(tf.cast(tf.stack(pixels), 'float32'), 255);
  });
}
