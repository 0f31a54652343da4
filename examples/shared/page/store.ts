import {make} from '../dom';
import {Kept} from '../kept';
import {history, show, work} from './work';

interface Keeping<S, K> {
  in: Kept<K>;
  /** What of the state is kept. */
  names: readonly (keyof S)[];
  of: (state: S) => K | Promise<K>;
}

interface StoreOptions<S, K> {
  /** What the browser keeps of the state. Default: nothing. */
  keep?: Keeping<S, K>;
  /** Called when the state is another one after an undo, with the former state. */
  settle?: (former: S) => unknown;
}

/** All that the visitor made. What shows it follows its changes, and the visitor can undo them. */
export class Store<S extends object, K = S> {
  /** Says whether the browser keeps what the visitor made. */
  readonly keptNote = make('p', {className: 'note', id: 'kept', role: 'status'});

  constructor(
    private current: S,
    private readonly options: StoreOptions<S, K> = {},
  ) {}

  get state(): Readonly<S> {
    return this.current;
  }

  /** Changes the state for good, as at the start of the page or by what a text field can undo itself. */
  set(changes: Partial<S>): void {
    const former = this.current;
    this.current = {...former, ...changes};
    const {keep} = this.options;
    if (keep?.names.some(name => this.current[name] !== former[name])) {
      void this.keepState(keep);
    }
    show();
  }

  /** Changes the state, and lets the visitor undo that by its name. */
  change(what: string, changes: Partial<S>): void {
    const names = Object.keys(changes) as (keyof S)[];
    const former = Object.fromEntries(names.map(name => [name, this.current[name]])) as Partial<S>;
    history.add(what, () =>
      work(async () => {
        const undone = this.current;
        this.set(former);
        await this.options.settle?.(undone);
        return 'Undone.';
      }),
    );
    this.set(changes);
  }

  private async keepState({in: kept, names, of}: Keeping<S, K>): Promise<void> {
    const state = this.current;
    // If there was another change since, its call keeps all.
    const isCurrent = () => names.every(name => this.current[name] === state[name]);
    this.keptNote.textContent = 'Saving …';
    const value = await of(state);
    const isKept = isCurrent() && (await kept.write(value));
    if (isCurrent()) {
      this.keptNote.textContent = isKept
        ? 'This browser keeps what you add.'
        : 'This browser does not keep what you add: it is gone when you reload the page.';
    }
  }
}
