import {make} from '../../shared/dom';
import type {Labelled} from './encoder';

/** What a visitor does with a sentence of the list, by its index. */
interface Actions {
  choose: (index: number) => void;
  group: (index: number, group: string) => void;
  remove: (index: number) => void;
}

/** The list of sentences, to choose, group and delete. */
export class SentenceRows {
  constructor(
    private readonly list: HTMLOListElement,
    private readonly groups: readonly string[],
    private readonly on: Actions,
  ) {}

  /** Shows sentences as they are now. Rows that stay keep the focus. */
  show(sentences: readonly Labelled[], chosen: number): void {
    while (this.list.children.length > sentences.length) {
      this.list.lastElementChild!.remove();
    }
    while (this.list.children.length < sentences.length) {
      this.list.append(this.newRow(this.list.children.length));
    }
    [...this.list.children].forEach((row, i) => {
      const {text, group} = sentences[i]!;
      row.classList.toggle('chosen', i === chosen);
      (row as HTMLElement).dataset['group'] = group;
      const button = row.querySelector<HTMLButtonElement>('.sentence')!;
      [button.textContent, button.title] = [text, text];
      row.querySelector('select')!.value = group;
      row.querySelector<HTMLButtonElement>('.delete')!.disabled = sentences.length === 1;
    });
  }

  /** Scrolls the list, and not the page, to a sentence. */
  reveal(index: number): void {
    const row = this.list.children[index]?.getBoundingClientRect();
    const {top, bottom} = this.list.getBoundingClientRect();
    if (row !== undefined && (row.top < top || row.bottom > bottom)) {
      this.list.scrollTop += row.top - top - (bottom - top - row.height) / 2;
    }
  }

  /** Focuses the delete button of the sentence that is now at an index. */
  focus(index: number): void {
    const row = this.list.children[index] ?? this.list.lastElementChild;
    row?.querySelector<HTMLButtonElement>('.delete')!.focus({preventScroll: true});
  }

  private newRow(index: number): HTMLLIElement {
    const button = make('button', {className: 'sentence'});
    button.addEventListener('click', () => this.on.choose(index));
    const select = make('select', {}, ...this.groups.map(name => new Option(name === '' ? '–' : name, name)));
    select.setAttribute('aria-label', `Group of sentence ${index + 1}`);
    select.addEventListener('change', () => this.on.group(index, select.value));
    const remove = make('button', {className: 'delete quiet'}, '✕');
    remove.setAttribute('aria-label', `Delete sentence ${index + 1}`);
    remove.addEventListener('click', () => this.on.remove(index));
    return make('li', {}, button, select, remove);
  }
}
