import {onChange} from './work';

/** Makes the buttons of a list one stop of the Tab key. Arrow keys, Home and End move between them. */
export function oneStop<L extends HTMLElement>(list: L): L {
  list.addEventListener('focusin', () => setStop(list));
  list.addEventListener('keydown', event => {
    const buttons = buttonsOf(list);
    const at = buttons.indexOf(event.target as HTMLButtonElement);
    const next = placeAfter(event.key, at, buttons.length);
    if (next !== undefined) {
      event.preventDefault();
      buttons[next]?.focus();
    }
  });
  list.dataset['oneStop'] = '';
  return list;
}

/** Sets the stops of all lists again whenever the page has changed. To be called after the views of the page. */
export function keepStops(): void {
  onChange(() => document.querySelectorAll<HTMLElement>('[data-one-stop]').forEach(setStop));
}

function placeAfter(key: string, at: number, count: number): number | undefined {
  switch (key) {
    case 'ArrowRight':
    case 'ArrowDown':
      return at + 1;
    case 'ArrowLeft':
    case 'ArrowUp':
      return at - 1;
    case 'Home':
      return 0;
    case 'End':
      return count - 1;
    default:
      return undefined;
  }
}

function buttonsOf(list: HTMLElement): HTMLButtonElement[] {
  return [...list.querySelectorAll('button')];
}

/** The button that has the focus is the stop, or else the first one. */
function setStop(list: HTMLElement): void {
  const buttons = buttonsOf(list);
  const stop = buttons.find(button => button === document.activeElement) ?? buttons[0];
  buttons.forEach(button => (button.tabIndex = button === stop ? 0 : -1));
}
