import {SIDE} from '../format';
import {make} from '../../../shared/dom';
import {pictureOf} from './image';
import type {Label, Samples} from './samples';

/** How many of a label's samples are shown, the latest ones. */
const SHOWN = 8;

/** The labels, to select, rename and remove, each with its latest samples. */
export class LabelList {
  private rows = new Map<Label, LabelRow>();

  constructor(private readonly list: HTMLUListElement) {}

  /** Shows the labels as they are now. Rows of labels that stay keep the focus. */
  show(samples: Samples): void {
    const former = this.rows;
    this.rows = new Map(
      samples.labels.map((label, i) => [label, former.get(label) ?? new LabelRow(label, samples, i + 1)]),
    );
    const rows = [...this.rows.values()];
    if (rows.length !== this.list.children.length || rows.some(({item}, i) => item !== this.list.children[i])) {
      this.list.replaceChildren(...rows.map(({item}) => item));
    }
    rows.forEach(row => row.show(samples));
  }

  /** Puts the cursor into the name of a label. */
  edit(label: Label): void {
    this.rows.get(label)?.name.select();
  }
}

class LabelRow {
  readonly item: HTMLLIElement;
  readonly name = make('input', {type: 'text', maxLength: 20, autocomplete: 'off'});
  private readonly radio = make('input', {type: 'radio', name: 'label'});
  private readonly strip = make('canvas', {width: SHOWN * SIDE, height: SIDE});
  private readonly count = make('span', {className: 'count'});
  private readonly remove = make('button', {className: 'quiet', type: 'button'}, '✕');

  constructor(
    private readonly label: Label,
    samples: Samples,
    number: number,
  ) {
    this.name.setAttribute('aria-label', `Name of label ${number}`);
    this.strip.setAttribute('role', 'img');
    this.radio.addEventListener('change', () => samples.select(label));
    this.name.addEventListener('change', () => samples.rename(label, this.name.value.trim()));
    this.name.addEventListener('focus', () => samples.select(label));
    this.remove.addEventListener('click', () => samples.remove(label));
    this.item = make('li', {}, this.radio, this.name, this.strip, this.count, this.remove);
  }

  show(samples: Samples): void {
    const {name, samples: images} = this.label;
    const selected = this.label === samples.selected;
    this.item.classList.toggle('selected', selected);
    this.radio.checked = selected;
    this.radio.setAttribute('aria-label', `Add drawings to ${name}`);
    this.name.value = name;
    this.count.textContent = String(images.length);
    this.remove.disabled = samples.labels.length === 1;
    this.remove.setAttribute('aria-label', `Remove label ${name}`);
    this.strip.setAttribute('aria-label', `${images.length} samples of ${name}`);
    const context = this.strip.getContext('2d')!;
    context.clearRect(0, 0, this.strip.width, this.strip.height);
    images.slice(-SHOWN).forEach((image, i) => context.putImageData(pictureOf(image), i * SIDE, 0));
  }
}
