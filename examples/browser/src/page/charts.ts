import {render} from '@tensorflow/tfjs-vis';
import type {Progress} from '../protocol';

type LineOptions = Parameters<typeof render.linechart>[2];

/** A point of a line. */
interface Point {
  x: number;
  y: number;
}

/** Between drawing one chart and the other, in milliseconds. */
const PAUSE = 250;

/** The curves of loss and accuracy. */
export class Charts {
  private losses: number[] = [];
  private accuracies: {samples: number; unseen: number}[] = [];
  private sweep: Point[] = [];
  private changed = false;
  private drawing = false;

  constructor(
    private readonly loss: HTMLElement,
    private readonly accuracy: HTMLElement,
    private readonly rates: HTMLElement,
  ) {
    const observer = new ResizeObserver(() => this.drawSoon());
    [loss, rates].forEach(chart => observer.observe(chart));
  }

  reset(): void {
    this.losses = [];
    this.accuracies = [];
    this.drawSoon();
  }

  add(progress: Progress): void {
    if (progress.kind === 'step') {
      this.losses.push(progress.loss);
    } else {
      this.accuracies.push({samples: progress.accuracy ?? NaN, unseen: progress.heldOutAccuracy ?? NaN});
    }
    this.drawSoon();
  }

  /** Shows the loss over the logarithm of the learning rate. */
  showRates(curve: Point[]): void {
    this.sweep = curve;
    this.drawSoon();
  }

  private drawSoon(): void {
    this.changed = true;
    if (!this.drawing) {
      this.drawing = true;
      void this.drawWhileChanged().finally(() => (this.drawing = false));
    }
  }

  private async drawWhileChanged(): Promise<void> {
    while (this.changed) {
      this.changed = false;
      await this.draw();
    }
  }

  /** One chart after the other, with room in between for whatever else the page has to do. */
  private async draw(): Promise<void> {
    await drawLines(this.loss, {loss: inOrder(this.losses)}, {seriesColors: ['#4338ca']});
    await pause();
    await drawLines(
      this.accuracy,
      {
        samples: inOrder(this.accuracies.map(({samples}) => samples)),
        unseen: inOrder(this.accuracies.map(({unseen}) => unseen)),
      },
      {yAxisDomain: [0, 1], seriesColors: ['#4338ca', '#0d9488']},
    );
    await pause();
    await drawRates(this.rates, this.sweep);
    await pause();
  }
}

/** As single points: tfjs-vis puts the points of a line at 0, 1, 2 and so on, whatever their x. */
async function drawRates(chart: HTMLElement, curve: Point[]): Promise<void> {
  const {clientWidth: width, clientHeight: height} = chart;
  if (width > 0 && curve.length > 0) {
    await render.scatterplot(
      chart,
      {values: [curve], series: ['loss']},
      {
        fontSize: 12,
        xLabel: 'log10 of the rate',
        yLabel: '',
        width,
        height,
        zoomToFit: true,
        seriesColors: ['#4338ca'],
      },
    );
  }
}

/** Values at 0, 1 and so on. One point is no line: an empty chart has its axes. */
function inOrder(values: number[]): Point[] {
  return (values.length === 0 ? [0] : values).map((y, x) => ({x, y}));
}

/**
 * A line for each of `series`. In a window that leaves no width nothing is drawn (tfjs-vis would make up a width, a
 * negative one): the size is observed, and there is another drawing when there is room again.
 */
async function drawLines(chart: HTMLElement, series: Record<string, Point[]>, options: LineOptions): Promise<void> {
  const {clientWidth: width, clientHeight: height} = chart;
  if (width === 0) {
    return;
  }
  await render.linechart(
    chart,
    {values: Object.values(series), series: Object.keys(series)},
    {fontSize: 12, xLabel: '', yLabel: '', width, height, ...options},
  );
}

function pause(): Promise<unknown> {
  return new Promise(resolve => setTimeout(resolve, PAUSE));
}
