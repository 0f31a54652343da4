/** The most steps that are remembered. */
const MOST = 100;

interface Step {
  what: string;
  undo: () => unknown;
}

/** The visitor's actions, which a button or Ctrl+Z undoes, the latest first. */
export class History {
  private steps: Step[] = [];
  private isFree = true;

  constructor(private readonly button: HTMLButtonElement) {
    button.addEventListener('click', () => this.undo());
    document.addEventListener('keydown', event => {
      const isUndo = event.key === 'z' && (event.ctrlKey || event.metaKey) && !event.shiftKey;
      // In a text field, the browser undoes typing.
      const {target} = event;
      const isText =
        target instanceof HTMLTextAreaElement || (target instanceof HTMLInputElement && target.type === 'text');
      if (isUndo && !isText) {
        event.preventDefault();
        this.undo();
      }
    });
    this.show();
  }

  /** Remembers a step: what it was, in a few words, and how to undo it. */
  add(what: string, undo: () => unknown): void {
    this.steps = [...this.steps.slice(1 - MOST), {what, undo}];
    this.show();
  }

  /** Forgets all steps. */
  clear(): void {
    this.steps = [];
    this.show();
  }

  /** Undoes the latest step, if there is one and the page is free. */
  undo(): void {
    const step = this.isFree ? this.steps.pop() : undefined;
    this.show();
    step?.undo();
  }

  /** Allows undoing, or not while the page is busy. */
  allow(isFree: boolean): void {
    this.isFree = isFree;
    this.show();
  }

  private show(): void {
    const step = this.steps.at(-1);
    this.button.disabled = !this.isFree || step === undefined;
    this.button.textContent = step === undefined ? 'Undo' : `Undo: ${step.what}`;
  }
}
