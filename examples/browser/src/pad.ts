import {SIDE} from './format';
import {imageOf, pictureOf} from './image';

/** About the thickness of strokes in the training images of the base model. */
const STROKE = 22;

/** The canvas for drawing with mouse, pen, or finger. */
export class Pad {
  private readonly context: CanvasRenderingContext2D;
  private shown: Uint8Array | null = null;
  /** Whether `shown` was placed and not drawn. The next stroke replaces it. */
  private isPlaced = false;

  /** @param onChange is called with what is drawn now, `null` when that is nothing. */
  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly onChange: (image: Uint8Array | null) => void,
  ) {
    this.context = canvas.getContext('2d', {willReadFrequently: true})!;
    Object.assign(this.context, {lineWidth: STROKE, lineCap: 'round', lineJoin: 'round', strokeStyle: 'white'});
    canvas.addEventListener('pointerdown', event => this.begin(event));
    canvas.addEventListener('pointermove', event => this.draw(event));
    canvas.addEventListener('pointerup', () => this.changed(imageOf(canvas)));
    canvas.addEventListener('pointercancel', () => this.changed(imageOf(canvas)));
  }

  /** The image on the pad, or `null`. */
  get image(): Uint8Array | null {
    return this.shown;
  }

  clear(): void {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.changed(null);
  }

  /** Puts an image on the pad as if it had been drawn. */
  show(image: Uint8Array): void {
    const small = new OffscreenCanvas(SIDE, SIDE);
    small.getContext('2d')!.putImageData(pictureOf(image), 0, 0);
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.context.drawImage(small, 0, 0, this.canvas.width, this.canvas.height);
    this.changed(image);
    this.isPlaced = true;
  }

  private begin(event: PointerEvent): void {
    if (!event.isPrimary) {
      return; // a second finger draws nothing
    }
    event.preventDefault();
    if (this.isPlaced) {
      this.clear();
    }
    this.canvas.setPointerCapture(event.pointerId);
    this.context.beginPath();
    this.context.moveTo(...this.place(event));
    this.draw(event);
  }

  private draw(event: PointerEvent): void {
    if (event.buttons === 0 || !event.isPrimary) {
      return;
    }
    for (const point of [...event.getCoalescedEvents(), event]) {
      this.context.lineTo(...this.place(point));
    }
    this.context.stroke();
    this.changed(imageOf(this.canvas));
  }

  /** The position of the pointer on the canvas, which may be scaled. */
  private place({clientX, clientY}: PointerEvent): [x: number, y: number] {
    const {left, top, width, height} = this.canvas.getBoundingClientRect();
    return [((clientX - left) * this.canvas.width) / width, ((clientY - top) * this.canvas.height) / height];
  }

  private changed(image: Uint8Array | null): void {
    this.shown = image;
    this.isPlaced = false;
    this.onChange(image);
  }
}
