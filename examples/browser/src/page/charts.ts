import {Plot, type Point} from '../../../shared/plot';
import type {Progress} from '../protocol';

/** The curves of loss and accuracy, and the loss at each learning rate. */
export class Charts {
  private readonly loss: Plot;
  private readonly accuracy: Plot;
  private readonly rates: Plot;
  private losses: number[] = [];
  private accuracies: {samples: number; heldOut: number}[] = [];

  constructor(loss: HTMLElement, accuracy: HTMLElement, rates: HTMLElement) {
    this.loss = new Plot(loss, {title: 'Loss after each step'});
    this.accuracy = new Plot(accuracy, {title: 'Accuracy after each epoch', y: [0, 1]});
    this.rates = new Plot(rates, {
      title: 'Loss at each learning rate',
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
      this.accuracies.push({samples: progress.accuracy ?? NaN, heldOut: progress.heldOutAccuracy ?? NaN});
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
      (['samples', 'heldOut'] as const).map(name => ({
        name: name === 'heldOut' ? 'held-out digits' : name,
        points: this.accuracies.map((entry, x) => ({x, y: entry[name]})),
      })),
    );
  }
}
