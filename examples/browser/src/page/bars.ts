import {make} from '../../../shared/dom';

/** Shows probabilities as bars, and the most likely label. */
export function showBars(
  {bars, guess}: {bars: HTMLElement; guess: HTMLElement},
  labels: readonly string[],
  probabilities: readonly number[] | null,
): void {
  const rows = bars.children.length === labels.length ? [...bars.children] : labels.map(emptyRow);
  if (rows[0]?.parentElement !== bars) {
    bars.replaceChildren(...rows);
  }
  const best = probabilities === null ? -1 : probabilities.indexOf(Math.max(...probabilities));
  // For an untrained model, all are equally likely.
  const certain = best >= 0 && probabilities!.some(value => value < probabilities![best]! - 1e-6);
  guess.textContent = certain ? labels[best]! : '–';
  rows.forEach((row, i) => {
    const [label, track, value] = row.children as unknown as [HTMLElement, HTMLElement, HTMLElement];
    const probability = probabilities?.[i] ?? 0;
    label.textContent = labels[i]!;
    (track.firstElementChild as HTMLElement).style.width = `${100 * probability}%`;
    value.textContent = probabilities === null ? '' : `${Math.round(100 * probability)} %`;
    row.classList.toggle('best', certain && i === best);
  });
}

function emptyRow(): HTMLElement {
  return make(
    'div',
    {className: 'bar'},
    make('span', {className: 'bar-label'}),
    make('span', {className: 'bar-track'}, make('span')),
    make('span', {className: 'bar-value'}),
  );
}
