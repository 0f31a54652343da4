import {KNOWN_DIGITS} from '../format';
import type {Engine, Prediction} from '../protocol';
import {showBars} from './bars';
import {byId} from '../../../shared/dom';

/** Shows the predictions of both models, one at a time: during one, only the latest image waits. */
export class Predictions {
  private latest: Uint8Array | null = null;
  private asking = false;
  private stale = false;

  /** @param labels those to show where there is no adapted model yet. */
  constructor(
    private readonly client: Pick<Engine, 'predict'>,
    private readonly labels: () => readonly string[],
  ) {}

  show(image: Uint8Array | null): void {
    this.latest = image;
    this.refresh();
  }

  /** Asks again: the models or labels have changed. */
  refresh(): void {
    this.stale = true;
    if (!this.asking) {
      void this.ask();
    }
  }

  private async ask(): Promise<void> {
    this.asking = true;
    try {
      while (this.stale) {
        this.stale = false;
        const prediction = this.latest === null ? null : await this.client.predict(this.latest);
        if (this.latest !== null || prediction === null) {
          this.display(prediction);
        }
      }
    } finally {
      this.asking = false; // at once: a call that comes next must not wait for a later microtask
    }
  }

  private display(prediction: Prediction | null): void {
    const adapted = prediction?.adapted ?? null;
    showBars({bars: byId('base-bars'), guess: byId('base-guess')}, KNOWN_DIGITS.map(String), prediction?.base ?? null);
    showBars(
      {bars: byId('adapted-bars'), guess: byId('adapted-guess')},
      adapted?.labels ?? this.labels(),
      adapted?.probabilities ?? null,
    );
  }
}
