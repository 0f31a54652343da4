import {byId, make, percent} from '../../shared/dom';

/** Shows how many clips of each class were taken for which one. */
export function showConfusion(names: readonly string[], labels: readonly number[], guessed: readonly number[]): void {
  const count = (label: number, guess: number) =>
    labels.filter((each, i) => each === label && guessed[i] === guess).length;
  const column = (text: string) => make('th', {scope: 'col'}, text);
  byId<HTMLTableElement>('confusion').hidden = false;
  byId('confusion').replaceChildren(
    make('caption', {}, 'Held-out clips: what they are, and what each was taken for'),
    make('thead', {}, make('tr', {}, column('Class'), ...names.map(column))),
    make(
      'tbody',
      {},
      ...names.map((name, label) =>
        make(
          'tr',
          {},
          make('th', {scope: 'row'}, name),
          ...names.map((_, guess) =>
            make('td', {className: guess === label ? 'right' : ''}, String(count(label, guess))),
          ),
        ),
      ),
    ),
  );
}

/** Shows the score of each class. */
export function showScores(names: readonly string[], scores: readonly number[]): void {
  const place = byId('chances');
  if (place.childElementCount !== names.length) {
    place.replaceChildren(
      ...names.map(name =>
        make('div', {className: 'chance'}, make('span', {}, name), make('span'), make('meter', {ariaLabel: name})),
      ),
    );
  }
  names.forEach((name, i) => {
    const [label, share, meter] = place.children[i]!.children as unknown as [
      HTMLElement,
      HTMLElement,
      HTMLMeterElement,
    ];
    label.textContent = name;
    share.textContent = percent(scores[i]!);
    meter.value = scores[i]!;
    meter.ariaLabel = name;
  });
}
