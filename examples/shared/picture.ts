/** The central square of an image on white, `size` pixels wide. The browser scales it smoothly. */
export function squareOf(source: CanvasImageSource, width: number, height: number, size: number): HTMLCanvasElement {
  const canvas = Object.assign(document.createElement('canvas'), {width: size, height: size});
  const context = canvas.getContext('2d', {willReadFrequently: true})!;
  const side = Math.min(width, height);
  context.fillStyle = 'white'; // transparent pixels would be black
  context.fillRect(0, 0, size, size);
  context.imageSmoothingQuality = 'high';
  context.drawImage(source, (width - side) / 2, (height - side) / 2, side, side, 0, 0, size, size);
  return canvas;
}

/** The image in an `<img>`. */
export async function pictureOfImage(image: HTMLImageElement, size: number): Promise<HTMLCanvasElement> {
  await image.decode();
  return squareOf(image, image.naturalWidth || size, image.naturalHeight || size, size);
}

/** The image of an SVG body of 32 × 32 units. */
export function pictureOfDrawing(body: string, size: number): Promise<HTMLCanvasElement> {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${size}" height="${size}" viewBox="0 0 32 32">${body}</svg>`;
  return pictureOfImage(Object.assign(new Image(), {src: `data:image/svg+xml,${encodeURIComponent(svg)}`}), size);
}

/** The image in a file that a visitor chose or dropped. */
export async function pictureOfFile(file: File, size: number): Promise<HTMLCanvasElement> {
  const image = Object.assign(new Image(), {src: URL.createObjectURL(file)});
  try {
    return await pictureOfImage(image, size);
  } catch {
    throw new Error(`${file.name} is not an image that this browser can read.`);
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

/** The image as a lossless file. */
export function fileOf(picture: HTMLCanvasElement): Promise<File> {
  return new Promise((resolve, reject) => {
    picture.toBlob(blob => {
      if (blob === null) {
        reject(new Error('The browser could not write an image to a file.'));
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

/** What a `<video>` shows now. */
export function pictureOfVideo(video: HTMLVideoElement, size: number): HTMLCanvasElement {
  return squareOf(video, video.videoWidth, video.videoHeight, size);
}

/** Turns the webcam off. */
export function closeWebcam(video: HTMLVideoElement): void {
  (video.srcObject as MediaStream | null)?.getTracks().forEach(track => track.stop());
  video.srcObject = null;
}
