import {make} from '../dom';
import {button} from './controls';
import {isHeldOut} from './heldOut';
import {oneStop} from './oneStop';
import {isBusy, onChange, work} from './work';

/** A class to learn, with its images or other samples. */
export interface SampleClass<T> {
  readonly name: string;
  readonly samples: readonly T[];
}

/** What a page does with its classes. */
interface Collecting<T> {
  /** What a class has, in the plural: "images". */
  things: string;
  /** The files that are taken, if any. */
  accept?: string;
  /** How many a class needs, and how many are recommended. */
  needed: number;
  advised: number;
  classes: () => readonly SampleClass<T>[];
  /** Changes the classes, lets the visitor undo that, and returns what to say. */
  change: (what: string, classes: readonly SampleClass<T>[], said: string) => Promise<string> | string;
  /** Reads samples from files. */
  read?: (files: readonly File[]) => Promise<readonly T[]>;
  /** Draws a sample. */
  draw: (sample: T, place: SamplePlace) => HTMLElement;
  /** What else adds samples to a class, and the label of its button. */
  record?: {label: string; start: (name: string, add: (samples: readonly T[]) => Promise<string>) => Promise<string>};
  /** The class that stays, as the last one. */
  fixed?: string;
  /** Restores the classes to begin with, and returns what to say. */
  restore: () => Promise<string> | string;
  /** Removes all classes, and returns what to say. Without it, those that are not fixed are removed one by one. */
  clear?: () => Promise<string>;
}

interface SamplePlace {
  /** The name of its class. */
  name: string;
  /** Its number in the class, from 1. */
  number: number;
  isHeldOut: boolean;
  remove: () => void;
}

/** Classes with samples, which the visitor adds and removes. */
export class Samples<T> {
  private readonly list = make('div', {id: 'classes'});
  private readonly nameField = make('input', {
    ...{id: 'class-name', type: 'text', maxLength: 40},
    ...{placeholder: 'A new class', ariaLabel: 'A new class'},
  });
  /** What to put on the page. */
  readonly elements: readonly HTMLElement[];

  constructor(private readonly collecting: Collecting<T>) {
    const {clear} = collecting;
    const form = make(
      'form',
      {id: 'new-class', className: 'row'},
      this.nameField,
      make('button', {id: 'add-class'}, 'Add class'),
      button('Restore example', () => work(collecting.restore), {id: 'example', kind: 'quiet'}),
      ...(clear === undefined ? [] : [button('Remove all', () => work(clear), {id: 'clear', kind: 'quiet'})]),
    );
    form.addEventListener('submit', event => {
      event.preventDefault();
      this.addClass();
    });
    this.elements = [this.list, form];
    onChange(() => this.list.replaceChildren(...collecting.classes().map(own => this.cardOf(own))));
  }

  /** What the classes lack for training; empty if nothing. */
  missing(): string {
    const {classes, needed, advised, things} = this.collecting;
    const short = classes().filter(({samples}) => samples.length < needed).map(({name}) => name); // prettier-ignore
    if (classes().length < 2) {
      return 'Training needs at least two classes.';
    }
    return short.length === 0
      ? ''
      : `Each class needs at least ${needed} ${things} (${advised} or more are better). Too few: ${short.join(', ')}.`;
  }

  private fixed(): SampleClass<T>[] {
    return this.collecting.classes().filter(({name}) => name === this.collecting.fixed);
  }

  private become(what: string, classes: readonly SampleClass<T>[], said: string): Promise<void> {
    return work(() => this.collecting.change(what, classes, said));
  }

  private addClass(): void {
    const name = this.nameField.value.trim();
    if (isBusy() || name === '') {
      return;
    }
    const classes = this.collecting.classes();
    if (classes.some(own => own.name === name)) {
      void work(() => `The class ${name} exists already.`);
      return;
    }
    this.nameField.value = '';
    const others = classes.filter(own => own.name !== this.collecting.fixed);
    void this.become('class added', [...others, {name, samples: []}, ...this.fixed()], `Added the class ${name}.`);
  }

  /** Gives a class other samples. */
  private withSamples(name: string, samples: readonly T[]): SampleClass<T>[] {
    return this.collecting.classes().map(own => (own.name === name ? {name, samples} : own));
  }

  private add(name: string, more: readonly T[]): Promise<string> | string {
    const {classes, change, things} = this.collecting;
    const samples = [...classes().find(own => own.name === name)!.samples, ...more];
    const said = `${name} has ${samples.length} ${samples.length === 1 ? things.replace(/s$/, '') : things}.`;
    return change(`${things} added to ${name}`, this.withSamples(name, samples), said);
  }

  private cardOf({name, samples}: SampleClass<T>): HTMLElement {
    const {things, draw, record, fixed, classes} = this.collecting;
    const removeClass = () =>
      this.become(
        `${name} removed`,
        classes().filter(own => own.name !== name),
        `Removed ${name}. Undo restores it.`,
      );
    const buttons: [string, () => unknown][] = [
      ...(record === undefined
        ? []
        : [[record.label, () => work(() => record.start(name, async more => this.add(name, more)))] as [string, () => unknown]]), // prettier-ignore
      ...(name === fixed ? [] : [['Remove', removeClass] as [string, () => unknown]]),
    ];
    const card = make(
      'section',
      {className: 'class', ariaLabel: name},
      make(
        'header',
        {},
        make('h3', {}, `${name} (${samples.length})`),
        ...buttons.map(([label, act]) =>
          make('button', {type: 'button', ariaLabel: `${label} ${name}`, onclick: () => void act()}, label),
        ),
      ),
      oneStop(
        make(
          'div',
          {className: 'samples', role: 'group', ariaLabel: `${things} of ${name}, between which arrow keys move`},
          ...samples.map((sample, i) =>
            draw(sample, {
              ...{name, number: i + 1, isHeldOut: isHeldOut(i)},
              remove: () =>
                void this.become(
                  `${things.replace(/s$/, '')} removed`,
                  this.withSamples(name, samples.filter((_, other) => other !== i)), // prettier-ignore
                  'Removed. Undo restores it.',
                ),
            }),
          ),
        ),
      ),
    );
    this.takeFiles(card, name);
    card
      .querySelectorAll<HTMLButtonElement | HTMLInputElement>('button, input')
      .forEach(control => (control.disabled = isBusy()));
    return card;
  }

  /** Has the card of a class take files that are chosen, or dropped on it. */
  private takeFiles(card: HTMLElement, name: string): void {
    const {accept = '', read, things} = this.collecting;
    if (read === undefined) {
      return;
    }
    const take = (chosen: Iterable<File>) => void work(async () => this.add(name, await read([...chosen])));
    const input = make('input', {type: 'file', accept, multiple: true, ariaLabel: `Add ${things} to ${name}`});
    input.addEventListener('change', () => take(input.files ?? []));
    card.querySelector('header')!.after(input);
    const over = (isOver: boolean) => (event: DragEvent) => {
      event.preventDefault();
      event.stopPropagation();
      card.classList.toggle('over', isOver);
    };
    card.addEventListener('dragover', over(true));
    card.addEventListener('dragleave', over(false));
    card.addEventListener('drop', event => {
      over(false)(event);
      const dropped = [...(event.dataTransfer?.files ?? [])];
      if (!isBusy() && dropped.length > 0) {
        take(dropped);
      }
    });
  }
}
