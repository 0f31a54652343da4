import {kindOf, LoRAError} from '../../platform/errors';

/** A native progress bar and a line of text below it, in an element of a page. */
export class ElementBar {
  private readonly bar: HTMLProgressElement;
  private readonly line: HTMLElement;

  /** @throws LoRAError if it is not an element. */
  constructor(
    private readonly element: HTMLElement,
    label: string,
  ) {
    const {ownerDocument, replaceChildren} = (element as Partial<HTMLElement> | null) ?? {};
    if (ownerDocument == null || typeof replaceChildren !== 'function') {
      throw new LoRAError(
        "element must be an element of the page, such as document.getElementById('training') returns, got " +
          `${kindOf(element)}. In a worker, pass onProgress, and post its argument to the page.`,
      );
    }
    this.bar = ownerDocument.createElement('progress');
    this.bar.setAttribute('aria-label', label || 'Training');
    this.line = ownerDocument.createElement('div');
  }

  begin(): void {
    this.element.replaceChildren(this.bar, this.line);
  }

  /** @param share from 0 to 1; `undefined` if it is not known. */
  draw(share: number | undefined, text: string): void {
    if (share === undefined) {
      this.bar.removeAttribute('value'); // shows activity without a share
    } else {
      this.bar.value = share;
    }
    this.line.textContent = text;
  }
}
