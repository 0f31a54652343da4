import {make} from '../dom';
import {History} from '../history';
import {TimeLeft} from '../timeLeft';

/** Says what the page does, and how that ended. */
export const statusLine = make('p', {id: 'status', className: 'note', role: 'status'});
/** How much of it is done. */
export const progress = make('progress', {id: 'progress', max: 1, value: 0, ariaLabel: 'Progress'});
export const undoButton = make('button', {id: 'undo', type: 'button', disabled: true}, 'Undo');
export const history = new History(undoButton);

const views: (() => void)[] = [];
const left = new TimeLeft();
let busy = true;

/** Whether the page does something that nothing may interfere with. */
export function isBusy(): boolean {
  return busy;
}

/** Has something shown again whenever the page has changed. */
export function onChange(view: () => void): void {
  views.push(view);
}

/** Shows the page as it is now. A control that is made anew keeps the focus. */
export function show(): void {
  const control = focused();
  history.allow(!busy);
  document.body.ariaBusy = String(busy);
  views.forEach(view => view());
  focusAgain(control);
}

/** Says something, also to those who do not see the page. */
export function say(text: string): void {
  tell('polite', text);
}

/** Shows how far something is. A screen reader that read each step aloud would say nothing else. */
function showProgress(share: number, text: string): void {
  progress.value = share;
  tell('off', text);
}

function tell(ariaLive: 'polite' | 'off', textContent: string): void {
  Object.assign(statusLine, {ariaLive, textContent});
  statusLine.classList.remove('fault');
}

/** Does something that takes a while, with the controls disabled that would interfere, and says how it ended. */
export async function work(doing: () => Promise<string> | string): Promise<void> {
  const control = focused();
  busy = true;
  show();
  try {
    say(await doing());
  } catch (error) {
    say((error as Error).message);
    statusLine.classList.add('fault');
  }
  busy = false;
  progress.value = 0;
  show();
  focusAgain(control);
}

/** What selects the control that has the focus. */
function focused(): string | undefined {
  const {id, ariaLabel} = document.activeElement ?? document.body;
  return id ? `#${CSS.escape(id)}` : ariaLabel ? `[aria-label="${CSS.escape(ariaLabel)}"]` : undefined;
}

/** Gives the focus back to a control that was disabled or made anew. */
function focusAgain(selector: string | undefined): void {
  const {activeElement} = document;
  const isLost = activeElement === document.body || activeElement?.matches(':disabled');
  if (selector !== undefined && isLost) {
    document.querySelector<HTMLElement>(selector)?.focus({preventScroll: true});
  }
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}

/** Shows how much of a model is loaded. A server may not say how large it is: then `total` is 0. */
export function showLoading(what: string, {done, total}: {done: number; total: number}): void {
  const share = total > 0 ? done / total : 0;
  showProgress(share, `Loading the ${what}: ${megabytes(done)}${total > 0 ? ` of ${megabytes(total)}` : ''}`);
}

/** Shows a step of a training, which is the whole work from a share of it on. */
export function showStep(
  {step, steps, loss}: {step: number; steps: number; loss: number},
  {measure = 'loss', decimals = 3, from = 0} = {},
): void {
  const text = `Step ${step} of ${steps}, ${measure} ${loss.toFixed(decimals)}${left.text(step, steps)}`;
  showProgress(from + ((1 - from) * step) / steps, text);
}

/** Shows how many of some things are done, which is a share of the whole work. */
export function showCount(what: string, {done, total}: {done: number; total: number}, share = 1): void {
  showProgress((share * done) / total, `${what}: ${done} of ${total}`);
}
