import {Kept} from '../kept';
import {history, show, work} from './work';

interface StoreOptions<S, K> {
  /** What the browser keeps of the state. Default: nothing. */
  keep?: {in: Kept<K>; of: (state: S) => K};
  /** Called when the state is another one after an undo, with the former state. */
  settle?: (former: S) => unknown;
}

/** All that the visitor made. What shows it follows its changes, and the visitor can undo them. */
export class Store<S extends object, K = S> {
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
    if (keep !== undefined && keep.of(this.current) !== keep.of(former)) {
      void keep.in.write(keep.of(this.current));
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
}
