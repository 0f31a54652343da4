import type * as tf from '@tensorflow/tfjs';
import {checkCallOptions} from '../../platform/signals';
import {TrainingCallback} from './callback';

class StopOnAbort extends TrainingCallback {
  constructor(private readonly signal: AbortSignal | undefined) {
    super();
    checkCallOptions({signal: signal === undefined ? (null as unknown as AbortSignal) : signal});
  }

  protected override endBatch(): Promise<void> {
    if (this.signal?.aborted) {
      this.model.stopTraining = true;
    }
    return Promise.resolve();
  }
}

/**
 * Ends a fit after the current step when a signal is aborted, as `model.stopTraining = true` does. The fit does not
 * reject: its promise resolves to the history so far, and the model keeps what it has learned. `bestAdapter` restores
 * the best epoch as usual, and `checkpoint` saves, with the epoch counted as complete. An epoch that ends early is not
 * validated. If the signal is aborted before the fit begins, the fit takes one step.
 *
 * @param signal the signal of an `AbortController`.
 * @returns a callback for `fit`, `fitDataset` and `fitOnFeatures`.
 * @throws LoRAError `ERR_OPTION` if it is not an AbortSignal.
 * @example
 *     const controller = new AbortController();
 *     button.onclick = () => controller.abort();
 *     await model.fit(xs, ys, {epochs: 100, callbacks: [stopOnAbort(controller.signal)]});
 */
export function stopOnAbort(signal: AbortSignal): tf.Callback {
  return new StopOnAbort(signal);
}
