import {type Line, SIDE} from '../lines';

/** How much larger the pad is than what is read from it. */
const SCALE = 5;
/** The height of a line on the pad, and the width of a stroke, as in the lines to train on. */
const [TALL, STROKE] = [SIDE + 4, 2.6];

/** A canvas to write on with a finger, a pen or the mouse. */
export class Pad {
  private readonly context: CanvasRenderingContext2D;

  /** @param onChange called after each stroke. */
  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly onChange: () => void,
  ) {
    this.context = canvas.getContext('2d', {willReadFrequently: true})!;
    Object.assign(canvas, {width: 160 * SCALE, height: TALL * SCALE});
    Object.assign(this.context, {lineWidth: STROKE * SCALE, lineCap: 'round', lineJoin: 'round'});
    canvas.addEventListener('pointerdown', event => this.begin(event));
    canvas.addEventListener('pointermove', event => this.go(event));
    canvas.addEventListener('pointerup', () => this.onChange());
    this.clear();
  }

  clear(): void {
    this.context.fillStyle = 'white';
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  /** Shows a line in the middle. */
  show(line: Line): void {
    this.clear();
    const x = (this.canvas.width - line.width * SCALE) / 2;
    this.context.drawImage(canvasOf(line), x, 0, line.width * SCALE, this.canvas.height);
  }

  /** What is written, without blank columns at either end; `null` if that is nothing. */
  get line(): Line | null {
    const width = this.canvas.width / SCALE;
    const small = Object.assign(document.createElement('canvas'), {width, height: TALL});
    const context = small.getContext('2d', {willReadFrequently: true})!;
    context.imageSmoothingQuality = 'high';
    context.drawImage(this.canvas, 0, 0, width, TALL);
    const {data} = context.getImageData(0, 0, width, TALL);
    const inkAt = (x: number, y: number) => 1 - data[4 * (y * width + x)]! / 255;
    const rows = Array.from({length: TALL}, (_, y) => y);
    const used = Array.from({length: width}, (_, x) => x).filter(x => rows.some(y => inkAt(x, y) > 0.3));
    if (used.length === 0) {
      return null;
    }
    const [first, last] = [Math.max(0, used[0]! - 1), Math.min(width - 1, used.at(-1)! + 1)];
    const columns = last - first + 1;
    const ink = Float32Array.from({length: TALL * columns}, (_, i) =>
      inkAt(first + (i % columns), Math.floor(i / columns)),
    );
    return {ink, width: columns, height: TALL};
  }

  private begin(event: PointerEvent): void {
    this.canvas.setPointerCapture(event.pointerId);
    this.context.beginPath();
    this.context.moveTo(...this.at(event));
    this.go(event);
  }

  private go(event: PointerEvent): void {
    if (event.buttons % 2 === 1) {
      this.context.lineTo(...this.at(event));
      this.context.stroke();
    }
  }

  private at({offsetX, offsetY}: PointerEvent): [x: number, y: number] {
    const scale = this.canvas.width / this.canvas.clientWidth;
    return [offsetX * scale, offsetY * scale];
  }
}

/** A line as dark ink on white. */
export function canvasOf({ink, width, height}: Line): HTMLCanvasElement {
  const canvas = Object.assign(document.createElement('canvas'), {width, height});
  const pixels = new ImageData(width, height);
  ink.forEach((value, i) => pixels.data.set([...Array<number>(3).fill(255 * (1 - value)), 255], 4 * i));
  canvas.getContext('2d')!.putImageData(pixels, 0, 0);
  return canvas;
}
