import {SIDE} from '../format';
import {make} from './dom';
import {pictureOf} from './image';
import type {Label, Samples} from './samples';

/** How many of a label's samples are shown, the latest ones. */
const SHOWN = 8;

/** Shows the labels, to select, rename and remove, each with its latest samples. */
export function showLabels(list: HTMLUListElement, samples: Samples): void {
  const focused = document.activeElement?.id;
  list.replaceChildren(...samples.labels.map((label, i) => row(label, i, samples)));
  if (focused !== undefined && focused !== '') {
    document.getElementById(focused)?.focus(); // the row that had the focus is a new one
  }
}

function row(label: Label, index: number, samples: Samples): HTMLLIElement {
  const selected = label === samples.selected;
  const radio = make('input', {type: 'radio', name: 'label', id: `label-${index}`, checked: selected});
  radio.setAttribute('aria-label', `Add drawings to ${label.name}`);
  radio.addEventListener('change', () => samples.select(label));

  const name = make('input', {type: 'text', id: `name-${index}`, value: label.name, maxLength: 20});
  name.setAttribute('aria-label', `Name of label ${index + 1}`);
  name.addEventListener('change', () => samples.rename(label, name.value.trim()));

  const remove = make('button', {className: 'quiet', id: `remove-${index}`, type: 'button'}, '✕');
  remove.setAttribute('aria-label', `Remove label ${label.name}`);
  remove.disabled = samples.labels.length === 1;
  remove.addEventListener('click', () => samples.remove(label));

  const count = make('span', {className: 'count'}, String(label.samples.length));
  return make('li', {className: selected ? 'selected' : ''}, radio, name, strip(label), count, remove);
}

function strip({name, samples}: Label): HTMLCanvasElement {
  const canvas = make('canvas', {width: SHOWN * SIDE, height: SIDE});
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', `${samples.length} samples of ${name}`);
  const context = canvas.getContext('2d')!;
  samples.slice(-SHOWN).forEach((image, i) => context.putImageData(pictureOf(image), i * SIDE, 0));
  return canvas;
}
