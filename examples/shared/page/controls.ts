import {make, numberIn, wholeNumberIn} from '../dom';
import {onFiles} from '../files';
import {keepStops} from './oneStop';
import {isBusy, onChange, progress, say, show, statusLine} from './work';

type Child = Node | string;

/** A step of the page. */
export function step(id: string, title: string, ...children: Child[]): HTMLElement {
  const heading = make('h2', {id: `${id}-title`}, make('span', {className: 'number', ariaHidden: 'true'}), title);
  const section = make('section', {id, className: 'card'}, heading, ...children);
  section.setAttribute('aria-labelledby', heading.id);
  return section;
}

/** Puts the steps on the page, and what its corner holds. */
export function page(steps: readonly HTMLElement[], ...corner: Child[]): void {
  document.querySelector('header')!.append(make('div', {className: 'row take'}, ...corner));
  document.querySelector('main')!.append(...steps);
  keepStops();
  show();
}

/** A paragraph of HTML that tells of what is above or below it. */
export function note(html: string, properties: Partial<HTMLParagraphElement> = {}): HTMLElement {
  return make('p', {className: 'note', innerHTML: html, ...properties});
}

/** A paragraph of HTML in small print that says what the controls above it do. */
export function help(html: string, id = ''): HTMLElement {
  return note(html, {className: 'help', ...(id !== '' && {id})});
}

/** A note whose text follows the page. */
export function liveNote(id: string, text: () => string, properties: Partial<HTMLParagraphElement> = {}): HTMLElement {
  const paragraph = note('', {id, ...properties});
  onChange(() => {
    // A screen reader reads what is set, also if it is the same.
    if (paragraph.textContent !== text()) {
      paragraph.textContent = text();
    }
  });
  return paragraph;
}

export function row(...children: Child[]): HTMLElement {
  return make('div', {className: 'row take'}, ...children);
}

interface ButtonOptions {
  id?: string;
  kind?: 'primary' | 'quiet';
  /** When it can be pressed, beside that the page is not busy. */
  when?: () => boolean;
  /** When it can be pressed, also while the page is busy. */
  whileBusy?: () => boolean;
}

export function button(
  label: string,
  act: () => unknown,
  {id = '', kind, when, whileBusy}: ButtonOptions = {},
): HTMLButtonElement {
  const made = make('button', {type: 'button', id, className: kind ?? '', onclick: () => void act()}, label);
  enable(made, whileBusy ?? (() => !isBusy() && (when?.() ?? true)));
  return made;
}

/** Enables a control when something holds. */
export function enable(control: HTMLElement & {disabled: boolean}, when: () => boolean): void {
  control.disabled = true;
  onChange(() => (control.disabled = !when()));
}

interface NumberOptions {
  value: number;
  min?: number;
  max: number;
  step?: number;
  describedBy?: string;
}

/** A field for a number with its label. Without a step it is for whole numbers. */
export class NumberField {
  readonly input: HTMLInputElement;
  readonly field: HTMLElement;

  constructor(id: string, label: string, {value, min = 1, max, step: width = 1, describedBy}: NumberOptions) {
    const inputMode = width === 1 ? 'numeric' : 'decimal';
    const texts = [min, max, width, value].map(String) as [string, string, string, string];
    this.input = make('input', {id, type: 'number', min: texts[0], max: texts[1], step: texts[2], inputMode});
    this.input.value = texts[3];
    if (describedBy !== undefined) {
      this.input.setAttribute('aria-describedby', describedBy);
    }
    this.field = labelled(label, this.input);
  }

  /** The number, in the field's range. */
  get value(): number {
    return this.input.step === '1' ? wholeNumberIn(this.input) : numberIn(this.input);
  }
}

/** A list to choose from, by values and their texts. */
export function choice(id: string, options: Readonly<Record<string, string>>, describedBy = ''): HTMLSelectElement {
  const made = make('select', {id}, ...Object.entries(options).map(([value, text]) => new Option(text, value)));
  if (describedBy !== '') {
    made.setAttribute('aria-describedby', describedBy);
  }
  enable(made, () => !isBusy());
  return made;
}

/** A control below its label. */
export function labelled(label: string, control: HTMLElement): HTMLElement {
  return make('div', {className: 'field'}, make('label', {htmlFor: control.id}, label), control);
}

interface Training {
  fields: readonly HTMLElement[];
  /** Says what the fields mean, as HTML. */
  help: string;
  /** What training needs first; empty if nothing. */
  missing?: () => string;
  /** Trains, until it is done or stopped. */
  train: () => Promise<void>;
  stop: () => unknown;
  /** What is on the button. Default: "Train". */
  label?: () => string;
}

/** The step that trains, which says how far it is. */
export function trainStep(
  {fields, help: text, missing = () => '', train, stop, label = () => 'Train'}: Training,
  ...more: Child[]
): HTMLElement {
  let isTraining = false;
  const trainUntilDone = async () => {
    isTraining = true;
    say('Training …');
    try {
      await train();
    } finally {
      isTraining = false;
      const wasStopped = document.activeElement === ending;
      show();
      if (wasStopped) {
        learn.focus({preventScroll: true}); // and not lost with the button that is disabled now
      }
    }
  };
  const ending = button('Stop', stop, {id: 'stop', whileBusy: () => isTraining});
  const learn = button('Train', trainUntilDone, {id: 'learn', kind: 'primary', when: () => missing() === ''});
  onChange(() => (learn.textContent = label()));
  return step(
    'train',
    'Train',
    row(...fields, learn, ending),
    help(text, 'train-help'),
    liveNote('missing', missing),
    progress,
    statusLine,
    ...more,
  );
}

interface DropOptions {
  accept: string;
  multiple?: boolean;
  /** What can be dropped too, or what it is for, as HTML. */
  more?: string;
}

/** Takes files that are chosen, or dropped anywhere on the page. */
export function dropZone(
  what: string,
  {accept, multiple = false, more = ''}: DropOptions,
  take: (files: File[]) => unknown,
): HTMLElement {
  const input = make('input', {id: 'files', type: 'file', accept, multiple});
  const about = make('span', {}, make('strong', {}, `Drop ${what} anywhere`));
  about.insertAdjacentHTML('beforeend', `${more}, or choose ${multiple ? 'files' : 'one'}.`);
  const zone = make('label', {id: 'drop', className: 'drop'}, about, input);
  enable(input, () => !isBusy());
  onFiles(input, zone, files => {
    if (!isBusy()) {
      take(files);
    }
  });
  return zone;
}
