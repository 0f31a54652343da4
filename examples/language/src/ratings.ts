import {make} from '../../shared/dom';
import {makeSvg} from '../../shared/svg';
import type {Rating} from './protocol';

/** Questions, each with a short answer, which has a thumb up, and with a long one, which has a thumb down. */
export const SAMPLE_RATINGS: readonly Rating[] = [
  ['What is a fox?', 'A small wild dog.', 'A fox is a small animal with a bushy tail that lives in a den.'],
  ['What is a lemon?', 'A sour yellow fruit.', 'A lemon is a citrus fruit that is widely used in cooking and baking.'],
  ['What is a ferry?', 'A boat for passengers.', 'A ferry is a type of boat that carries people and cars over water.'],
  ['What is a hammer?', 'A tool for nails.', 'A hammer is a hand tool that consists of a handle and a heavy head.'],
  [
    'What is a tulip?',
    'A spring flower.',
    'A tulip is a type of flower that grows from a bulb and comes in many colours.',
  ],
  ['What is a desert?', 'A very dry place.', 'A desert is a region that receives very little rain and has few plants.'],
].flatMap(([content, short, long]) =>
  [short, long].map((completion, i) => ({prompt: [{role: 'user', content}], completion, label: i === 0}) as Rating),
);

/** What a visitor does with a rating. */
export type OnRate = (rating: Rating, label: boolean | 'remove') => void;

/** Shows ratings, the latest first, each with its thumbs and a button that removes it. */
export function showRatings(list: HTMLElement, ratings: readonly Rating[], onRate: OnRate): void {
  const {activeElement} = document;
  const focused = list.contains(activeElement) ? activeElement?.ariaLabel : null;
  list.replaceChildren(
    ...[...ratings].reverse().map(rating => {
      const answer = shortened(rating.completion);
      const remove = make('button', {type: 'button', className: 'quiet', ariaLabel: `Remove: ${answer}`}, '✕');
      remove.addEventListener('click', () => onRate(rating, 'remove'));
      return make(
        'li',
        {},
        make('div', {}, make('span', {}, rating.prompt.at(-1)!.content), '\n', rating.completion),
        ...thumbs(rating.completion, rating.label, label => onRate(rating, label)),
        remove,
      );
    }),
  );
  [...list.querySelectorAll('button')].find(({ariaLabel}) => ariaLabel === focused)?.focus();
}

/** Two buttons to rate an answer. */
export function thumbs(
  answer: string,
  label: boolean | undefined,
  onRate: (label: boolean) => void,
): HTMLButtonElement[] {
  return [true, false].map(isUp => {
    const button = make('button', {
      type: 'button',
      className: isUp ? 'thumb up' : 'thumb down',
      ariaLabel: `${isUp ? 'Good' : 'Bad'} answer: ${shortened(answer)}`,
      ariaPressed: String(label === isUp),
    });
    button.append(icon());
    button.addEventListener('click', () => onRate(isUp));
    return button;
  });
}

function shortened(answer: string): string {
  return answer.length > 60 ? `${answer.slice(0, 57)}…` : answer;
}

/** A thumb that points up. */
function icon(): SVGElement {
  const d = 'M2 10h4v11H2z M8 10l4-8c2 0 3 1 2.6 3L14 9h6c1.5 0 2.3 1.2 2 2.5L20 19c-.3 1-1 2-2 2H8z';
  return makeSvg('svg', {viewBox: '0 0 24 24', 'aria-hidden': 'true'}, makeSvg('path', {d}));
}
