import {download} from '../files';
import {button, note, row, step} from './controls';
import {say, work} from './work';

/** What a page says when its adapter is forgotten. */
export const FORGOTTEN = 'Adapter removed. Undo restores it until you reload the page.';

interface Saving {
  /** The name of the adapter's file, without its ending. */
  name: string;
  /** The file of the adapter, if there is one. */
  adapter: () => Blob | null;
  /** Removes the adapter, and returns what to say. */
  forget: () => Promise<string>;
  /** What else can be downloaded: the text of each button, by its id, and what gives the files. */
  others?: Readonly<Record<string, readonly [label: string, save: () => Promise<string>]>>;
  /** Says what the files are for, as HTML. */
  about: string;
}

/** The step that gives the visitor what was learned, as files. */
export function saveStep(
  {name, adapter, forget, others = {}, about}: Saving,
  ...more: readonly HTMLElement[]
): HTMLElement {
  const when = () => adapter() !== null;
  const save = () => {
    download({name: `${name}.safetensors`, content: adapter()!});
    say('Downloaded. Load it with loadAdapter, or drop it on this page.');
  };
  return step(
    'own',
    'Save',
    row(
      button('Download adapter', save, {id: 'save', when}),
      ...Object.entries(others).map(([id, [label, act]]) => button(label, () => work(act), {id, when})),
      button('Forget adapter', () => work(forget), {id: 'forget', kind: 'quiet', when}),
    ),
    note(about),
    ...more,
  );
}
