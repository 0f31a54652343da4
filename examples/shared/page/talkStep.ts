import {make} from '../dom';
import {button, enable, step} from './controls';
import {isBusy, say, show, work} from './work';

/** So many answers are shown. */
const MAX_ANSWERS = 12;

interface TalkOptions {
  /** What is in the field at first. */
  value: string;
  hasAdapter: () => boolean;
  /** Answers, with the adapter or without. Pieces of the answer may be appended before. */
  answer: (asked: string, learned: boolean) => Promise<string>;
  stop: () => unknown;
  /** Adds to an answer what the page has to say of it. */
  onAnswer?: (item: HTMLElement, asked: string, text: string) => void;
}

/** The step in which the visitor asks the model, with the adapter and without. */
export class TalkStep {
  readonly section: HTMLElement;
  readonly field = make('input', {id: 'text', type: 'text', maxLength: 400, ariaLabel: 'Prompt'});
  /** Whether the visitor wants answers with the adapter. */
  readonly switched = make('input', {id: 'on', type: 'checkbox', role: 'switch'});
  private readonly answers = make('ol', {id: 'answers', ariaLabel: 'Answers, the latest first', ariaLive: 'polite'});
  /** The answer that is being generated. */
  private current: HTMLElement | null = null;
  private isAnswering = false;
  private stopping = new AbortController();

  constructor(private readonly options: TalkOptions) {
    this.field.value = options.value;
    enable(this.switched, () => !isBusy() && options.hasAdapter());
    const stop = () => {
      this.stopping.abort();
      options.stop();
    };
    const form = make('form', {id: 'ask', className: 'row'}, this.field);
    form.append(
      button('Ask', () => form.requestSubmit(), {id: 'send'}),
      button('Stop', stop, {id: 'stop-answer', whileBusy: () => this.isAnswering}),
    );
    form.addEventListener('submit', event => {
      event.preventDefault();
      const asked = this.asked;
      if (asked !== '' && !isBusy()) {
        void work(() => this.ask(asked));
      }
    });
    const label = make('label', {className: 'switch'}, this.switched, ' Use the adapter');
    this.section = step('talk', 'Try it', form, label, this.answers);
  }

  get asked(): string {
    return this.field.value.trim();
  }

  /** Shows a piece of the answer that is being generated. */
  append(piece: string): void {
    this.current?.append(piece);
  }

  private async ask(asked: string): Promise<string> {
    const {hasAdapter, answer, onAnswer} = this.options;
    this.isAnswering = true;
    const {signal} = (this.stopping = new AbortController());
    say('Generating …');
    show();
    try {
      const learned = this.switched.checked && hasAdapter();
      const current = (this.current = make('strong'));
      const who = learned ? 'With the adapter' : 'Without the adapter';
      const head = make('span', {}, `${who}: ${asked}`);
      const item = make('li', {className: learned ? 'learned' : ''}, head, '\n', current);
      this.answers.prepend(item);
      [...this.answers.children].slice(MAX_ANSWERS).forEach(old => old.remove());
      const begin = performance.now();
      const text = await answer(asked, learned);
      current.textContent = shownText(text, signal.aborted);
      onAnswer?.(item, asked, text.trim());
      const seconds = (performance.now() - begin) / 1000;
      return `${signal.aborted ? 'Stopped after' : 'Answered in'} ${seconds.toFixed(1)} s.`;
    } finally {
      this.isAnswering = false;
    }
  }
}

/** A generated text as it is shown. */
export function shownText(text: string, isStopped = false): string {
  return text.trim() || (isStopped ? '(stopped)' : '(nothing)');
}
