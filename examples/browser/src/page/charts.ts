import {render} from '@tensorflow/tfjs-vis';
import type {Progress} from '../protocol';

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
    // One point is no line: an empty chart has its axes.
    const points = (values: number[]) => (values.length === 0 ? [0] : values).map((y, x) => ({x, y}));
    const options = {fontSize: 12, xLabel: '', yLabel: ''};
    await render.linechart(
      this.loss,
      {values: [points(this.losses)], series: ['loss']},
      {...options, width: this.loss.clientWidth, height: this.loss.clientHeight, seriesColors: ['#4338ca']},
    );
    await pause();
    await render.linechart(
      this.accuracy,
      {
        values: [
          points(this.accuracies.map(({samples}) => samples)),
          points(this.accuracies.map(({unseen}) => unseen)),
        ],
        series: ['samples', 'unseen'],
      },
      {
        ...options,
        width: this.accuracy.clientWidth,
        height: this.accuracy.clientHeight,
        yAxisDomain: [0, 1],
        seriesColors: ['#4338ca', '#0d9488'],
      },
    );
    await pause();
  }
}

function pause(): Promise<unknown> {
  return new Promise(resolve => setTimeout(resolve, PAUSE));
}
