import {make} from '../../shared/dom';
import {Kept} from '../../shared/kept';
import {button, dropZone, enable, help, NumberField, page, row, step, trainStep} from '../../shared/page/controls';
import {sizeText} from '../../shared/page/results';
import {FORGOTTEN, saveStep} from '../../shared/page/saveStep';
import {Store} from '../../shared/page/store';
import {isBusy, onChange, show, showLoading, showStep, undoButton, work} from '../../shared/page/work';
import {makeSvg} from '../../shared/svg';
import {remote} from '../../shared/worker';
import type {Labelled, News, Places, SentenceEngine} from './encoder';
import {SentenceMap} from './map';
import {turnedTowards} from './plane';
import {SentenceRows} from './rows';
import {SAMPLES} from './samples';

const GROUPS = ['', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H'];
const NEIGHBOURS = 4;

/** Everything that the visitor made, which the browser keeps. */
interface State {
  sentences: readonly Labelled[];
  chosen: number;
  /** The file of the adapter, if there is one. */
  adapter: Blob | null;
}

/** Where the sentences are, before and after training. */
let places: {before: Places; after: Places | null} | null = null;

const engine = remote<SentenceEngine, News>(
  new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}),
  news => (news.kind === 'loading' ? showLoading('encoder', news) : showStep(news)),
);
const kept = new Kept<State>('sentences');
const store = new Store<State>(
  {sentences: examples(), chosen: 0, adapter: null},
  {keep: {in: kept, names: ['sentences', 'chosen', 'adapter'], of: state => state}, settle},
);
const field = make('input', {
  ...{id: 'text', type: 'text', maxLength: 200},
  ...{placeholder: 'A sentence of your own', ariaLabel: 'A sentence of your own'},
});
const add = make('button', {id: 'add-sentence'}, 'Add');
const form = make('form', {id: 'add', className: 'row'}, field, add);
const list = make('ol', {id: 'sentences'});
const fields = make(
  'fieldset',
  {id: 'list'},
  make('legend', {className: 'hidden'}, 'Sentences, to choose, group and delete'),
  list,
);
const drawing = makeSvg('svg', {
  ...{id: 'map', viewBox: '-115 -115 230 230', role: 'img'},
  'aria-label': 'Sentences as points; similar ones are close together',
});
const switched = make('input', {id: 'on', type: 'checkbox', role: 'switch', onchange: show});
const chosenText = make('h3', {id: 'chosen'});
const nearBefore = make('ol', {id: 'before'});
const nearAfter = make('ol', {id: 'after'});
const epochs = new NumberField('epochs', 'Epochs', {value: 8, max: 60});
const rows = new SentenceRows(list, GROUPS, {choose, group: giveGroup, remove: index => void remove(index)});
const map = new SentenceMap(drawing, choose, NEIGHBOURS);

function examples(): Labelled[] {
  return SAMPLES.map(({text, mood = ''}) => ({text, group: mood}));
}

/** Gives the worker the adapter of the page, and places the sentences. */
async function settle({adapter: former}: Pick<State, 'adapter'>): Promise<void> {
  const {adapter} = store.state;
  if (adapter !== former) {
    await (adapter === null ? engine.forget() : engine.open([new File([adapter], 'sentences.safetensors')]));
  }
  await place();
  switched.checked = adapter !== null;
}

/** Computes where the sentences are, before and after training. Points on the map move as little as possible. */
async function place(): Promise<void> {
  const {sentences, adapter} = store.state;
  const texts = sentences.map(({text}) => text);
  const before = await engine.place(texts, false);
  const after = adapter === null ? null : await engine.place(texts, true);
  const seen = places?.before.points;
  const settled = seen === undefined ? before.points : turnedTowards(before.points, seen);
  places = {
    before: {...before, points: settled},
    after: after && {...after, points: turnedTowards(after.points, settled)},
  };
}

function nearest(from: Places): number[] {
  const {chosen} = store.state;
  const cosines = from.cosines[chosen]!;
  return cosines
    .map((_, i) => i)
    .filter(i => i !== chosen)
    .sort((one, other) => cosines[other]! - cosines[one]!)
    .slice(0, NEIGHBOURS);
}

function grouped(): Labelled[] {
  return store.state.sentences.filter(({group}) => group !== '');
}

function showSentences(): void {
  const {sentences, chosen} = store.state;
  rows.show(sentences, chosen);
  if (places?.before.points.length !== sentences.length) {
    return; // they are being computed
  }
  const seen = (switched.checked ? places.after : null) ?? places.before;
  map.show(sentences, seen.points, chosen, nearest(seen));
  chosenText.textContent = sentences[chosen]!.text;
  showNear(nearBefore, places.before);
  showNear(nearAfter, places.after);
}

function showNear(view: HTMLElement, from: Places | null): void {
  const {sentences, chosen} = store.state;
  const indices = from === null ? [] : nearest(from);
  view.replaceChildren(
    ...indices.map(i => {
      const {text, group} = sentences[i]!;
      const item = make('li', {}, make('span', {}, from!.cosines[chosen]![i]!.toFixed(2)), ` ${text}`);
      Object.assign(item.dataset, {group, index: String(i)});
      return item;
    }),
  );
}

function choose(chosen: number): void {
  if (!isBusy()) {
    store.set({chosen});
    rows.reveal(chosen);
  }
}

function giveGroup(index: number, group: string): void {
  const sentences = store.state.sentences.map((labelled, i) => (i === index ? {...labelled, group} : labelled));
  store.change('group changed', {sentences});
}

/** Shows other sentences, with one of them chosen. */
function replaceSentences(what: string, sentences: readonly Labelled[], index: number, said: string): Promise<void> {
  const chosen = Math.min(index, sentences.length - 1);
  store.change(what, {sentences, chosen});
  rows.reveal(chosen);
  return work(async () => {
    await place();
    return said;
  });
}

async function remove(index: number): Promise<void> {
  const {sentences, chosen} = store.state;
  const remaining = sentences.filter((_, i) => i !== index);
  const next = chosen > index ? chosen - 1 : chosen;
  await replaceSentences('sentence deleted', remaining, next, 'Deleted. Undo restores it.');
  rows.focus(index);
}

/** Replaces or removes the adapter. */
async function changeAdapter(what: string, adapter: Blob | null): Promise<void> {
  store.change(what, {adapter});
  await place();
  switched.checked = adapter !== null;
}

async function train(): Promise<string> {
  const examples = grouped();
  const {seconds, isStopped, ...size} = await engine.learn(examples, epochs.value);
  await changeAdapter('training', await engine.file());
  const done = isStopped ? 'Stopped after' : `Trained on ${examples.length} sentences in`;
  return `${done} ${seconds.toFixed(1)} s: ${sizeText(size)}.`;
}

async function forget(): Promise<string> {
  await engine.forget();
  await changeAdapter('adapter forgotten', null);
  return FORGOTTEN;
}

async function openFiles(files: readonly File[]): Promise<string> {
  const size = await engine.open(files);
  await changeAdapter('file opened', await engine.file());
  return `Opened ${files.map(({name}) => name).join(' and ')}: ${sizeText(size)}.`;
}

async function start(): Promise<string> {
  const saved = await kept.read();
  if (saved !== null) {
    store.set(saved);
  }
  const {parameters} = await engine.start(new URL('model', document.baseURI).href);
  await settle({adapter: null});
  rows.reveal(store.state.chosen);
  const again = store.state.adapter === null ? '' : ' Your previous adapter is restored.';
  return `Ready: ${(parameters / 1e6).toFixed(1)} million parameters.${again}`;
}

form.addEventListener('submit', event => {
  event.preventDefault();
  const text = field.value.trim();
  if (text !== '' && !isBusy()) {
    field.value = '';
    const {sentences} = store.state;
    const said = 'Added. The most similar sentences are below the map.';
    void replaceSentences('sentence added', [...sentences, {text, group: ''}], sentences.length, said);
  }
});
enable(switched, () => !isBusy() && places?.after != null);
[fields, add].forEach(control => enable(control, () => !isBusy()));
onChange(showSentences);

const clearGroups = () =>
  store.change('groups cleared', {sentences: store.state.sentences.map(({text}) => ({text, group: ''}))});
const restore = () =>
  replaceSentences('sentences replaced', examples(), 0, 'The example is restored. Undo restores your sentences.');
page(
  [
    step(
      'write',
      'Sentences and groups',
      form,
      row(
        button('Clear groups', clearGroups, {id: 'ungroup', kind: 'quiet', when: () => grouped().length > 0}),
        button('Restore example', restore, {id: 'samples', kind: 'quiet'}),
      ),
      help(
        'Choose a group (A–H) at the end of a row. Sentences without a group are not used for training: they show ' +
          'whether the encoder got the idea.',
      ),
      fields,
    ),
    trainStep({
      fields: [epochs.field],
      help: 'An epoch is one pass over all sentences that are in groups.',
      missing: () =>
        new Set(grouped().map(({group}) => group)).size < 2 ? 'Put sentences into at least two groups.' : '',
      train: () => work(train),
      stop: () => engine.stop(),
    }),
    step(
      'see',
      'Map',
      drawing,
      help('Similar sentences are close together. Click one to see which four are most similar to it.'),
      make('label', {className: 'switch'}, switched, ' Show the map after training'),
      chosenText,
      make(
        'div',
        {className: 'columns'},
        make('div', {}, make('h3', {}, 'Most similar before training'), nearBefore),
        make('div', {}, make('h3', {}, 'Most similar after training'), nearAfter),
      ),
    ),
    saveStep(
      {
        name: 'sentences',
        adapter: () => store.state.adapter,
        forget,
        about: 'Sentences, groups, and adapter are restored when you reload the page.',
      },
      store.keptNote,
      dropZone(
        'an adapter',
        {accept: '.safetensors,.json', multiple: true, more: ', also as the two files of PEFT'},
        files => work(() => openFiles(files)),
      ),
    ),
  ],
  undoButton,
);
void work(start);
