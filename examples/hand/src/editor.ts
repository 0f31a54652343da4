import {makeSvg} from '../../shared/svg';
import {SIDE} from '../looks';
import {BONES, NAMES} from './points';

/** How close to a landmark a finger or the mouse has to be, in pixels of the image. */
const REACH = 20;
const STEPS: Record<string, readonly [x: number, y: number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** A frozen frame whose landmarks can be moved by mouse, touch, or arrow keys. */
export class PointEditor {
  private landmarks: number[] = [];
  private readonly lines = BONES.map(() => makeSvg('line'));
  private readonly dots = NAMES.map((_, i) => this.newDot(i));
  private held: {point: number; x: number; y: number; former: readonly number[]} | null = null;

  /** @param onMove called when a point was moved, with the landmarks as they were before. */
  constructor(
    private readonly drawing: SVGSVGElement,
    private readonly place: HTMLElement,
    private readonly onMove: (former: readonly number[]) => void,
  ) {
    drawing.append(...this.lines, ...this.dots);
    drawing.addEventListener('pointerdown', event => this.take(event));
    drawing.addEventListener('pointermove', event => this.drag(event));
    for (const end of ['pointerup', 'pointercancel'] as const) {
      drawing.addEventListener(end, () => this.release());
    }
  }

  /** Three values of each landmark. */
  get value(): number[] {
    return [...this.landmarks];
  }

  set value(landmarks: readonly number[]) {
    this.landmarks = [...landmarks];
    BONES.forEach(([from, to], i) => {
      const [x1, y1, x2, y2] = [...this.at(from), ...this.at(to)];
      Object.entries({x1, y1, x2, y2}).forEach(([key, number]) => this.lines[i]!.setAttribute(key, String(number)));
    });
    this.dots.forEach((dot, i) => {
      const [x, y] = this.at(i);
      dot.setAttribute('transform', `translate(${x} ${y})`);
      dot.setAttribute('aria-label', this.textOf(i));
    });
  }

  private at(point: number): [x: number, y: number] {
    return [this.landmarks[3 * point]!, this.landmarks[3 * point + 1]!];
  }

  private textOf(point: number): string {
    const [x, y] = this.at(point);
    return `${NAMES[point]}: ${Math.round(x)} to the right, ${Math.round(y)} down`;
  }

  private newDot(point: number): SVGGElement {
    const dot = makeSvg('g', {class: 'dot', tabindex: 0, role: 'button'}, makeSvg('circle', {r: 3.4}));
    dot.addEventListener('focus', () => (this.place.textContent = this.textOf(point)));
    dot.addEventListener('keydown', event => {
      const step = STEPS[event.key];
      if (step !== undefined) {
        event.preventDefault();
        const former = this.value;
        const times = event.shiftKey ? 10 : 1;
        const [x, y] = this.at(point);
        this.move(point, x + times * step[0], y + times * step[1]);
        this.onMove(former);
      }
    });
    return dot;
  }

  private move(point: number, x: number, y: number): void {
    const next = this.value;
    [next[3 * point], next[3 * point + 1]] = [x, y].map(each => Math.min(SIDE, Math.max(0, each))) as [number, number];
    this.value = next;
    this.place.textContent = this.textOf(point);
  }

  /** The position of an event, in pixels of the image. */
  private placeOf({clientX, clientY}: PointerEvent): [x: number, y: number] {
    const {left, top, width} = this.drawing.getBoundingClientRect();
    return [((clientX - left) * SIDE) / width, ((clientY - top) * SIDE) / width];
  }

  private take(event: PointerEvent): void {
    const [x, y] = this.placeOf(event);
    const away = NAMES.map((_, i) => Math.hypot(this.at(i)[0] - x, this.at(i)[1] - y));
    const point = away.indexOf(Math.min(...away));
    if (away[point]! <= REACH) {
      event.preventDefault();
      this.drawing.setPointerCapture(event.pointerId);
      this.dots[point]!.focus();
      this.held = {point, x, y, former: this.value};
    }
  }

  /** Moves the point by as much as the finger moves, which may lie beside it and does not hide it then. */
  private drag(event: PointerEvent): void {
    if (this.held !== null) {
      const {point, former} = this.held;
      const [x, y] = this.placeOf(event);
      this.move(point, former[3 * point]! + x - this.held.x, former[3 * point + 1]! + y - this.held.y);
    }
  }

  private release(): void {
    const {held} = this;
    this.held = null;
    if (held !== null && this.landmarks.some((value, i) => value !== held.former[i])) {
      this.onMove(held.former);
    }
  }
}
