import {render} from '@tensorflow/tfjs-vis';
import type {Progress} from '../protocol';

type LineOptions = Parameters<typeof render.linechart>[2];

/** Between drawing one chart and the other, in milliseconds. */
const PAUSE = 250;

/** The curves of loss and accuracy. */
export class Charts {
  private losses: number[] = [];
  private accuracies: {samples: number; unseen: number}[] = [];
  private changed = false;
  private drawing = false;

  constructor(
    private readonly loss: HTMLElement,
    private readonly accuracy: HTMLElement,
  ) {
    new ResizeObserver(() => this.drawSoon()).observe(loss);
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
    await drawLines(this.loss, {loss: this.losses}, {seriesColors: ['#4338ca']});
    await pause();
    await drawLines(
      this.accuracy,
      {
        samples: this.accuracies.map(({samples}) => samples),
        unseen: this.accuracies.map(({unseen}) => unseen),
      },
      {yAxisDomain: [0, 1], seriesColors: ['#4338ca', '#0d9488']},
    );
    await pause();
  }
}

/**
 * A line for each of `series`. In a window that leaves no width nothing is drawn (tfjs-vis would make up a width, a negative one): the
 * size is observed, and there is another drawing when there is room again.
 */
async function drawLines(chart: HTMLElement, series: Record<string, number[]>, options: LineOptions): Promise<void> {
  const {clientWidth: width, clientHeight: height} = chart;
  if (width === 0) {
    return;
  }
  // One point is no line: an empty chart has its axes.
  const points = (values: number[]) => (values.length === 0 ? [0] : values).map((y, x) => ({x, y}));
  await render.linechart(
    chart,
    {values: Object.values(series).map(points), series: Object.keys(series)},
    {fontSize: 12, xLabel: '', yLabel: '', width, height, ...options},
  );
}

function pause(): Promise<unknown> {
  return new Promise(resolve => setTimeout(resolve, PAUSE));
}
