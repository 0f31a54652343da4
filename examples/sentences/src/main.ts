import {byId, make, sayOutcome, wholeNumberIn} from '../../shared/dom';
import {download, onFiles} from '../../shared/files';
import {History} from '../../shared/history';
import {Kept} from '../../shared/kept';
import {TimeLeft} from '../../shared/timeLeft';
import {Remote} from '../../shared/worker';
import {type Dot, SentenceMap} from './map';
import {turnedTowards} from './plane';
import type {Engine, News, Places, Size} from './protocol';
import {SentenceRows} from './rows';
import {SAMPLES} from './samples';

const GROUPS = ['', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H'];
const NEIGHBOURS = 4;

/** Everything that the visitor made, which the browser keeps. */
interface State {
  sentences: readonly Dot[];
  chosen: number;
  /** The file of the adapter, if there is one. */
  adapter: Blob | null;
}

const [statusLine, progress] = [byId('status'), byId<HTMLProgressElement>('progress')];
const [epochs, switched, field] = (['epochs', 'on', 'text'] as const).map(id => byId<HTMLInputElement>(id)) as [
  HTMLInputElement,
  HTMLInputElement,
  HTMLInputElement,
];

let state: State = {sentences: examples(), chosen: 0, adapter: null};
let places: {before: Places; after: Places | null} | null = null;
let busy = true;

const engine = new Remote<Engine, News>(new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}), showNews);
const history = new History(byId('undo'));
const kept = new Kept<State>('sentences');
const left = new TimeLeft();
const rows = new SentenceRows(byId('sentences'), GROUPS, {choose, group: giveGroup, remove});
const map = new SentenceMap(byId<SVGSVGElement>('map'), choose, NEIGHBOURS);

function examples(): Dot[] {
  return SAMPLES.map(({text, mood = ''}) => ({text, group: mood}));
}

function showNews(news: News): void {
  if (news.kind === 'loading') {
    const {done, total} = news;
    // A server may not say how large a file is.
    progress.value = total > 0 ? done / total : 0;
    statusLine.textContent = `Loading the encoder: ${megabytes(done)} MB${total > 0 ? ` of ${megabytes(total)}` : ''}`;
  } else {
    progress.value = news.step / news.steps;
    statusLine.textContent =
      `Step ${news.step} of ${news.steps}, loss ${news.loss.toFixed(3)}` + left.text(news.step, news.steps);
  }
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}

function sizeText({parameters, bytes}: Size): string {
  return `${parameters.toLocaleString('en')} parameters, a file of ${(bytes / 1000).toFixed(0)} kB`;
}

/** Does something in the worker, with the controls disabled that would interfere. */
async function work(doing: () => Promise<string>): Promise<void> {
  busy = true;
  showState();
  await sayOutcome(statusLine, doing);
  busy = false;
  progress.value = 0;
  showState();
}

/** Changes the state, which the browser keeps. */
function become(next: State): void {
  state = next;
  void kept.write(state);
}

/** Changes the state without the worker, and lets the visitor undo that. */
function step(what: string, next: Partial<State>): void {
  const former = state;
  history.add(what, () => bringBack(former));
  become({...state, ...next});
  showState();
}

/** Restores an earlier state, with the worker's adapter. */
function bringBack(former: State): void {
  void work(async () => {
    const {adapter} = state;
    become(former);
    if (former.adapter !== adapter) {
      await openKept();
    }
    await place();
    return 'Undone.';
  });
}

/** Gives the worker the adapter of the page. */
async function openKept(): Promise<void> {
  if (state.adapter === null) {
    await engine.call('forget');
  } else {
    await engine.call('open', [new File([state.adapter], 'sentences.safetensors')]);
  }
}

/** Computes where the sentences are, before and after training. Points on the map move as little as possible. */
async function place(): Promise<void> {
  const texts = state.sentences.map(({text}) => text);
  const before = await engine.call('place', texts, false);
  const after = state.adapter === null ? null : await engine.call('place', texts, true);
  const seen = places?.before.points;
  const settled = seen === undefined ? before.points : turnedTowards(before.points, seen);
  places = {
    before: {...before, points: settled},
    after: after && {...after, points: turnedTowards(after.points, settled)},
  };
}

function nearest(from: Places): number[] {
  const cosines = from.cosines[state.chosen]!;
  return cosines
    .map((_, i) => i)
    .filter(i => i !== state.chosen)
    .sort((one, other) => cosines[other]! - cosines[one]!)
    .slice(0, NEIGHBOURS);
}

function showState(): void {
  const {sentences, chosen, adapter} = state;
  const groups = new Set(sentences.map(({group}) => group).filter(group => group !== ''));
  const enabled: Record<string, boolean> = {
    learn: !busy && groups.size >= 2,
    save: !busy && adapter !== null,
    forget: !busy && adapter !== null,
    file: !busy,
    on: !busy && places?.after != null,
    list: !busy,
    'add-sentence': !busy,
    ungroup: !busy && groups.size > 0,
    samples: !busy,
  };
  for (const [id, isEnabled] of Object.entries(enabled)) {
    byId<HTMLButtonElement>(id).disabled = !isEnabled;
  }
  history.allow(!busy);
  rows.show(sentences, chosen);
  if (places?.before.points.length !== sentences.length) {
    return; // they are being computed
  }
  const seen = (switched.checked ? places.after : null) ?? places.before;
  map.show(sentences, seen.points, chosen, nearest(seen));
  byId('chosen').textContent = sentences[chosen]!.text;
  showNear('before', places.before);
  showNear('after', places.after);
}

function showNear(id: string, from: Places | null): void {
  const indices = from === null ? [] : nearest(from);
  byId(id).replaceChildren(
    ...indices.map(i => {
      const {text, group} = state.sentences[i]!;
      const cosine = make('span', {}, from!.cosines[state.chosen]![i]!.toFixed(2));
      const row = make('li', {}, cosine, ` ${text}`);
      Object.assign(row.dataset, {group, index: String(i)});
      return row;
    }),
  );
}

function choose(chosen: number): void {
  if (!busy) {
    become({...state, chosen});
    showState();
    rows.reveal(chosen);
  }
}

function giveGroup(index: number, group: string): void {
  step('group changed', {sentences: state.sentences.map((dot, i) => (i === index ? {...dot, group} : dot))});
}

/** Shows other sentences, with one of them chosen. */
function replaceSentences(
  what: string,
  sentences: readonly Dot[],
  chosen: number,
  said: string,
  then?: () => void,
): void {
  step(what, {sentences, chosen: Math.min(chosen, sentences.length - 1)});
  rows.reveal(state.chosen);
  void work(async () => {
    await place();
    return said;
  }).then(then);
}

function remove(index: number): void {
  const rest = state.sentences.filter((_, i) => i !== index);
  const chosen = state.chosen > index ? state.chosen - 1 : state.chosen;
  replaceSentences('sentence deleted', rest, chosen, 'Deleted. Undo restores it.', () => rows.focus(index));
}

/** Replaces or removes the adapter, and lets the visitor undo that. */
function changeAdapter(what: string, doing: () => Promise<string>): void {
  const former = state;
  void work(async () => {
    const said = await doing();
    const adapter = what === 'adapter forgotten' ? null : await engine.call('file');
    history.add(what, () => bringBack(former));
    become({...state, adapter});
    await place();
    switched.checked = adapter !== null;
    return said;
  });
}

byId('add').addEventListener('submit', event => {
  event.preventDefault();
  const text = field.value.trim();
  if (text !== '' && !busy) {
    field.value = '';
    const {sentences} = state;
    const said = 'Added. The most similar sentences are below the map.';
    replaceSentences('sentence added', [...sentences, {text, group: ''}], sentences.length, said);
  }
});
byId('ungroup').addEventListener('click', () =>
  step('groups cleared', {sentences: state.sentences.map(({text}) => ({text, group: ''}))}),
);
byId('samples').addEventListener('click', () =>
  replaceSentences('sentences replaced', examples(), 0, 'The example is restored. Undo restores your sentences.'),
);
switched.addEventListener('change', showState);
byId('learn').addEventListener('click', () =>
  changeAdapter('training', async () => {
    const grouped = state.sentences.filter(({group}) => group !== '');
    const learned = await engine.call('learn', grouped, wholeNumberIn(epochs));
    return `Trained on ${grouped.length} sentences in ${learned.seconds.toFixed(1)} s: ${sizeText(learned)}.`;
  }),
);
byId('save').addEventListener('click', () => {
  download({name: 'sentences.safetensors', content: state.adapter!});
  statusLine.textContent = 'Downloaded. Load it with loadAdapter, or drop it on this page.';
});
byId('forget').addEventListener('click', () =>
  changeAdapter('adapter forgotten', async () => {
    await engine.call('forget');
    return 'Adapter removed. Undo restores it until you reload the page.';
  }),
);
onFiles(byId('file'), byId('drop'), files => {
  if (!busy) {
    changeAdapter('file opened', async () => {
      const size = await engine.call('open', files);
      return `Opened ${files.map(({name}) => name).join(' and ')}: ${sizeText(size)}.`;
    });
  }
});

showState();
void work(async () => {
  state = (await kept.read()) ?? state;
  showState();
  const {parameters} = await engine.call('start', new URL('model', document.baseURI).href);
  if (state.adapter !== null) {
    await openKept();
  }
  await place();
  switched.checked = state.adapter !== null;
  rows.reveal(state.chosen);
  const again = state.adapter === null ? '' : ' Your previous adapter is restored.';
  return `Ready: ${(parameters / 1e6).toFixed(1)} million parameters.${again}`;
});
