import {Plot, type Point} from '../../../shared/plot';
import type {Progress} from '../protocol';

/** The curves of loss and accuracy, and of the trial of rates. */
export class Charts {
  private readonly loss: Plot;
  private readonly accuracy: Plot;
  private readonly rates: Plot;
  private losses: number[] = [];
  private accuracies: {samples: number; unseen: number}[] = [];

  constructor(loss: HTMLElement, accuracy: HTMLElement, rates: HTMLElement) {
    this.loss = new Plot(loss, {title: 'Loss by step'});
    this.accuracy = new Plot(accuracy, {title: 'Accuracy by epoch', y: [0, 1]});
    this.rates = new Plot(rates, {
      title: 'Loss by learning rate',
      xLabel: 'learning rate',
      xText: exponent => `1e${exponent}`,
    });
  }

  reset(): void {
    this.losses = [];
    this.accuracies = [];
    this.draw();
  }

  add(progress: Progress): void {
    if (progress.kind === 'step') {
      this.losses.push(progress.loss);
    } else if (progress.kind === 'epoch') {
      this.accuracies.push({samples: progress.accuracy ?? NaN, unseen: progress.heldOutAccuracy ?? NaN});
    }
    this.draw();
  }

  /** Shows the loss over the logarithm of the learning rate. */
  showRates(curve: readonly Point[]): void {
    this.rates.show([{name: 'loss', points: curve}]);
  }

  private draw(): void {
    // The first step is number 1; the first accuracy is that of before.
    this.loss.show([{name: 'loss', points: this.losses.map((y, i) => ({x: i + 1, y}))}]);
    this.accuracy.show(
      (['samples', 'unseen'] as const).map(name => ({
        name,
        points: this.accuracies.map((entry, x) => ({x, y: entry[name]})),
      })),
    );
  }
}
