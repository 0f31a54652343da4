import {makeSvg} from './svg';
import {ticksOf} from './ticks';

export interface Point {
  x: number;
  y: number;
}

/** Points that a line goes through; where one has no finite value, the line is broken. */
export interface Line {
  name: string;
  points: readonly Point[];
}

export interface PlotOptions {
  /** What the drawing is called for those who do not see it. */
  title: string;
  /** Where the axis upwards begins and ends. Default: from 0 to the greatest value. */
  y?: readonly [from: number, to: number];
  /** What stands below the axis to the right. */
  xLabel?: string;
  /** What is written beside a whole number of that axis. Default: the number. */
  xText?: (x: number) => string;
}

/** Room around the lines, in pixels. */
const MARGIN = {top: 10, right: 14, bottom: 22};
/** Between one drawing and the next, in milliseconds. */
const PAUSE = 250;
/** About the width of a figure of the axes, in pixels. */
const FIGURE = 7;

/** Lines over axes, in the colours of the page, as wide and as high as their place is. */
export class Plot {
  private lines: readonly Line[] = [];
  private waits = false;

  constructor(
    private readonly place: HTMLElement,
    private readonly options: PlotOptions,
  ) {
    new ResizeObserver(() => this.draw()).observe(place);
  }

  /** Shows other lines, soon: a training has news more often than somebody can look. */
  show(lines: readonly Line[]): void {
    this.lines = lines;
    if (!this.waits) {
      this.waits = true;
      setTimeout(() => {
        this.waits = false;
        this.draw();
      }, PAUSE);
    }
  }

  /** In a window that leaves no room nothing is drawn: the place is observed. */
  private draw(): void {
    const {clientWidth: width, clientHeight: height} = this.place;
    const {title, xLabel, xText} = this.options;
    const [from, to] = this.options.y ?? [0, greatest(this.lines.flatMap(({points}) => points.map(({y}) => y)))];
    const xs = this.lines.flatMap(({points}) => points.filter(({y}) => Number.isFinite(y)).map(({x}) => x));
    // Words that lie on a line of the grid are hard to read.
    const yTicks = xs.length === 0 ? [] : ticksOf(from, to, height / 40);
    const left = 12 + FIGURE * Math.max(0, ...yTicks.map(({text}) => text.length));
    const bottom = MARGIN.bottom + (xLabel === undefined ? 0 : 16);
    const [inWidth, inHeight] = [width - left - MARGIN.right, height - MARGIN.top - bottom];
    if (inWidth < 20 || inHeight < 20) {
      this.place.replaceChildren();
      return;
    }
    const [first, end] = xs.length === 0 ? [0, 1] : [Math.min(...xs), Math.max(...xs)];
    const last = Math.max(end, first + 1e-9);
    const across = (x: number) => left + (inWidth * (x - first)) / (last - first);
    const down = (y: number) => MARGIN.top + inHeight * (1 - (y - from) / (to - from));
    const below = MARGIN.top + inHeight;
    // Places between whole steps and epochs are none.
    const xTicks = xs.length < 2 ? [] : ticksOf(first, last, inWidth / 80).filter(({at}) => Math.abs(at % 1) < 1e-9);
    const drawing = makeSvg(
      'svg',
      {class: 'plot', viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': this.summary(title)},
      ...yTicks.flatMap(({at, text}) => [
        makeSvg('line', {class: 'grid', x1: left, x2: width - MARGIN.right, y1: down(at), y2: down(at)}),
        makeSvg('text', {x: left - 6, y: down(at), dy: '0.35em', 'text-anchor': 'end'}, text),
      ]),
      ...xTicks.map(({at, text}) =>
        makeSvg('text', {x: across(at), y: below + 16, 'text-anchor': 'middle'}, xText?.(at) ?? text),
      ),
      ...this.lines.flatMap(({points}, i) => lineThrough(points, across, down, i)),
    );
    if (xs.length === 0) {
      const middle = {x: left + inWidth / 2, y: MARGIN.top + inHeight / 2, dy: '0.35em', 'text-anchor': 'middle'};
      drawing.append(makeSvg('text', {...middle, class: 'empty'}, 'drawn during training'));
    }
    if (xLabel !== undefined) {
      drawing.append(makeSvg('text', {x: left + inWidth / 2, y: height - 4, 'text-anchor': 'middle'}, xLabel));
    }
    this.place.replaceChildren(drawing);
  }

  /** Says in words where each line begins and ends. */
  private summary(title: string): string {
    const parts = this.lines.flatMap(({name, points}) => {
      const values = points.map(({y}) => y).filter(Number.isFinite);
      const text = (value: number) => String(Number(value.toPrecision(3)));
      return values.length === 0 ? [] : [`${name} from ${text(values[0]!)} to ${text(values.at(-1)!)}`];
    });
    return [title, ...parts].join('; ');
  }
}

function lineThrough(
  points: readonly Point[],
  across: (x: number) => number,
  down: (y: number) => number,
  index: number,
): SVGElement[] {
  const runs: string[][] = [[]];
  for (const {x, y} of thinned(points)) {
    if (Number.isFinite(y)) {
      runs.at(-1)!.push(`${across(x).toFixed(1)},${down(y).toFixed(1)}`);
    } else {
      runs.push([]);
    }
  }
  return runs
    .filter(run => run.length > 0)
    .map(run =>
      run.length === 1
        ? makeSvg('circle', {class: `line-${index}`, r: 2.5, cx: run[0]!.split(',')[0]!, cy: run[0]!.split(',')[1]!})
        : makeSvg('polyline', {class: `line-${index}`, points: run.join(' ')}),
    );
}

/** Of very many points each so many, and the last. */
function thinned(points: readonly Point[]): readonly Point[] {
  const every = Math.ceil(points.length / 1000);
  return points.filter((_, i) => i % every === 0 || i === points.length - 1);
}

/** The greatest finite one, 1 where there is none above zero. */
function greatest(values: readonly number[]): number {
  const best = values.reduce((most, value) => (value > most && Number.isFinite(value) ? value : most), 0);
  return best > 0 ? best : 1;
}
