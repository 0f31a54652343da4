import {make, percent} from '../dom';
import {onChange} from './work';

/** A table in a place that scrolls by itself, hidden while it has no rows. The first column is aligned left. */
export function table(
  id: string,
  {label, columns, rows}: {label: string; columns: () => readonly string[]; rows: () => readonly (readonly string[])[]},
): HTMLElement {
  const made = make('table', {id});
  onChange(() => {
    made.hidden = rows().length === 0;
    made.replaceChildren(
      make('caption', {}, label),
      make('thead', {}, make('tr', {}, ...columns().map(text => make('th', {scope: 'col'}, text)))),
      make('tbody', {}, ...rows().map(rowOf)),
    );
  });
  const place = make('div', {className: 'scroll', tabIndex: 0, role: 'group', ariaLabel: label}, made);
  onChange(() => (place.hidden = made.hidden));
  return place;
}

function rowOf([head = '', ...cells]: readonly string[]): HTMLElement {
  return make('tr', {}, make('th', {scope: 'row'}, head), ...cells.map(text => make('td', {}, text)));
}

/** The columns of a table of trainings. */
export const TRAININGS = ['Method', 'Held-out accuracy', 'Parameters', 'Seconds'] as const;

/** Shows how likely each class is, in a place. */
export function showChances(place: HTMLElement, names: readonly string[], chances: readonly number[]): void {
  if (place.childElementCount !== names.length) {
    place.replaceChildren(
      ...names.map(() => make('div', {className: 'chance'}, make('span'), make('span'), make('meter'))),
    );
  }
  names.forEach((name, i) => {
    const [label, share] = [...place.children[i]!.querySelectorAll('span')];
    const meter = place.children[i]!.querySelector('meter')!;
    label!.textContent = name;
    share!.textContent = percent(chances[i]!);
    Object.assign(meter, {value: chances[i]!, ariaLabel: name});
  });
}
