import {closeWebcam, openWebcam, pictureOfFile, pictureOfVideo} from '../../shared/picture';
import {mulberry32} from '../../shared/random';
import {picture, pictureOfGround, randomPose, SIDE} from '../looks';
import {landmarksOf} from '../skeleton';

/** An image in the size of the model's input, and its landmarks, if they are known. */
export interface Frame {
  picture: HTMLCanvasElement;
  truth: number[] | null;
}

/** The source of frames: the camera, a video, images, or drawings of a glove. */
export class Source {
  private stills: readonly Frame[] = [];
  private at = 0;
  private kind: 'none' | 'video' | 'stills' = 'none';
  private url = '';
  private changes = 0;

  constructor(private readonly video: HTMLVideoElement) {}

  /** A number that changes with the source. */
  get change(): number {
    return this.changes;
  }

  get isOpen(): boolean {
    return this.kind !== 'none';
  }

  /** Whether the source is a video. */
  get isMoving(): boolean {
    return this.kind === 'video';
  }

  /** Whether there is another image. */
  get hasNext(): boolean {
    return this.stills.length > 1;
  }

  /** The current frame. */
  frame(): Frame | null {
    if (this.kind === 'video') {
      return this.video.videoWidth === 0 ? null : {picture: pictureOfVideo(this.video, SIDE), truth: null};
    }
    return this.stills[this.at] ?? null;
  }

  next(): void {
    this.at = (this.at + 1) % this.stills.length;
    this.changes++;
  }

  async useCamera(): Promise<void> {
    this.close();
    try {
      await openWebcam(this.video);
    } catch (error) {
      throw new Error(`The camera cannot be used: ${(error as Error).message}`, {cause: error});
    }
    this.kind = 'video';
  }

  /** A video, or images. */
  async useFiles(files: readonly File[]): Promise<void> {
    const film = files.find(({type}) => type.startsWith('video/'));
    if (film === undefined) {
      const pictures = await Promise.all(files.map(file => pictureOfFile(file, SIDE)));
      this.show(pictures.map(each => ({picture: each, truth: null})));
      return;
    }
    this.close();
    this.url = URL.createObjectURL(film);
    Object.assign(this.video, {src: this.url, loop: true});
    try {
      await this.video.play();
    } catch (error) {
      this.close();
      throw new Error(`${film.name} is no video that this browser can play.`, {cause: error});
    }
    this.kind = 'video';
  }

  /** Drawings of a hand in a striped glove, whose landmarks are known. */
  useDrawings(count: number, seed: number): void {
    this.show(drawings(count, seed));
  }

  close(): void {
    this.changes++;
    closeWebcam(this.video);
    this.video.removeAttribute('src');
    URL.revokeObjectURL(this.url);
    this.kind = 'none';
    this.stills = [];
  }

  private show(stills: readonly Frame[]): void {
    this.close();
    [this.kind, this.stills, this.at] = ['stills', stills, 0];
  }
}

/** Drawings of a hand in a glove, the same ones for the same seed. */
export function drawings(count: number, seed: number): Frame[] {
  const random = mulberry32(seed);
  return Array.from({length: count}, () => {
    const pose = randomPose(random);
    return {picture: canvasOf(picture(pose, 'glove', random)), truth: landmarksOf(pose).flat()};
  });
}

/** Drawings of the background without a hand. */
export function grounds(count: number, seed: number): Frame[] {
  const random = mulberry32(seed);
  return Array.from({length: count}, () => ({picture: canvasOf(pictureOfGround('glove', random)), truth: null}));
}

/** The RGB values of a square image, on a canvas. */
function canvasOf(pixels: Uint8Array): HTMLCanvasElement {
  const image = new ImageData(SIDE, SIDE);
  for (let i = 0; i < SIDE * SIDE; i++) {
    image.data.set([...pixels.subarray(3 * i, 3 * i + 3), 255], 4 * i);
  }
  const canvas = Object.assign(document.createElement('canvas'), {width: SIDE, height: SIDE});
  canvas.getContext('2d', {willReadFrequently: true})!.putImageData(image, 0, 0);
  return canvas;
}
