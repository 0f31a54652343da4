import {KNOWN_DIGITS} from '../format';
import type {Prediction} from '../protocol';
import {showBars} from './bars';
import type {Client} from './client';
import {byId} from '../../../shared/dom';

/**
 * Shows what both models make of an image, one question at a time: while one is being answered only the latest image
 * waits.
 */
export class Predictions {
  private latest: Uint8Array | null = null;
  private asking = false;
  private stale = false;

  /** @param labels those to show where there is no adapted model yet. */
  constructor(
    private readonly client: Client,
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
      this.asking = true;
      void this.ask().finally(() => (this.asking = false));
    }
  }

  private async ask(): Promise<void> {
    while (this.stale) {
      this.stale = false;
      const prediction = this.latest === null ? null : await this.client.call('predict', this.latest);
      if (this.latest !== null || prediction === null) {
        this.display(prediction);
      }
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
