import type {AdapterState, LeftOut, Progress} from '../protocol';
import {byId, percent} from '../../../shared/dom';

const progressBar = byId<HTMLProgressElement>('progress');
const progressText = byId('progress-text');

/** The durations of the latest steps. */
const RECENT = 20;
let durations: number[] = [];

export function showStart(): void {
  durations = [];
  progressBar.value = 0;
  progressText.textContent = 'Starting …';
}

export function showProgress(progress: Progress): void {
  if (progress.kind === 'epoch') {
    showAccuracy(progress.heldOutAccuracy);
    return;
  }
  if (progress.kind === 'part') {
    progressBar.value = progress.done;
    progressText.textContent = `Training without part ${progress.reader} of ${progress.readers} of the samples …`;
    return;
  }
  const {step, steps, epoch, loss, milliseconds} = progress;
  durations = [...durations.slice(1 - RECENT), milliseconds];
  progressBar.value = step / steps;
  progressText.textContent = `Epoch ${epoch} · step ${step} of ${steps} · loss ${loss.toFixed(3)}`;
  byId('milliseconds').textContent = `${median(durations).toFixed(1)} ms`;
}

/** The accuracy on held-out digits; `null` if it is not known. */
export function showAccuracy(share: number | null): void {
  byId('accuracy').textContent = share === null ? '–' : percent(share);
}

export function showEnd(text: string): void {
  progressBar.value = 0;
  progressText.textContent = text;
}

/** The result of the cross-validation; `null` if there is none for these samples. */
export function showLeftOut(result: LeftOut | null): void {
  byId('left-out').textContent = result === null ? '–' : `${result.right} of ${result.judged}`;
}

/** The sizes of the adapter, if there is one. */
export function showAdapter(adapter: AdapterState | null, baseParameters: number): void {
  const count = (value: number) => value.toLocaleString('en');
  byId('parameters').textContent =
    adapter === null
      ? `0 / ${count(baseParameters)}`
      : `${count(adapter.trainableParameters)} / ${count(adapter.totalParameters)}`;
  byId('size').textContent = adapter === null ? '–' : `${(adapter.bytes / 1000).toFixed(1)} kB`;
}

/** The median ignores the first steps, which take longer. */
function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}
