import {byId, sayOutcome} from '../../shared/dom';
import {Remote} from '../../shared/worker';
import {type Dot, SentenceMap} from './map';
import {turnedTowards} from './plane';
import type {Engine, News, Places} from './protocol';
import {SAMPLES} from './samples';

const GROUPS = ['', 'A', 'B', 'C'];
const NEIGHBOURS = 4;

const [list, statusLine, progress] = [
  byId<HTMLOListElement>('sentences'),
  byId('status'),
  byId<HTMLProgressElement>('progress'),
];
const [learnButton, saveButton] = ['learn', 'save'].map(id => byId<HTMLButtonElement>(id)) as [
  HTMLButtonElement,
  HTMLButtonElement,
];
const [epochs, switched, field] = ['epochs', 'on', 'text'].map(id => byId<HTMLInputElement>(id)) as [
  HTMLInputElement,
  HTMLInputElement,
  HTMLInputElement,
];

const sentences: Dot[] = SAMPLES.map(({text}) => ({text, group: ''}));
let chosen = 0;
let places: {before: Places; after: Places | null} | null = null;
let busy = true;
let hasLearned = false;

const engine = new Remote<Engine, News>(new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}), showNews);
const map = new SentenceMap(byId<SVGSVGElement>('map'), choose, NEIGHBOURS);

function showNews(news: News): void {
  if (news.kind === 'loading') {
    const {done, total} = news;
    // A server need not say how long a file is.
    progress.value = total > 0 ? done / total : 0;
    statusLine.textContent = `Loading the encoder: ${megabytes(done)} MB${total > 0 ? ` of ${megabytes(total)}` : ''}`;
  } else {
    progress.value = news.step / news.steps;
    statusLine.textContent = `Step ${news.step} of ${news.steps}, loss ${news.loss.toFixed(3)}`;
  }
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}

/** Does something in the worker, with everything disabled that would disturb it. */
async function work(doing: () => Promise<string>): Promise<void> {
  busy = true;
  showState();
  await sayOutcome(statusLine, doing);
  busy = false;
  showState();
}

/** Asks where the sentences lie, before and after learning. What is seen moves as little as it can. */
async function place(): Promise<void> {
  const texts = sentences.map(({text}) => text);
  const before = await engine.call('place', texts, false);
  const after = hasLearned ? await engine.call('place', texts, true) : null;
  const seen = places?.before.points;
  const settled = seen === undefined ? before.points : turnedTowards(before.points, seen);
  places = {
    before: {...before, points: settled},
    after: after && {...after, points: turnedTowards(after.points, settled)},
  };
}

function nearest(from: Places): number[] {
  const cosines = from.cosines[chosen]!;
  return cosines
    .map((_, i) => i)
    .filter(i => i !== chosen)
    .sort((one, other) => cosines[other]! - cosines[one]!)
    .slice(0, NEIGHBOURS);
}

function showState(): void {
  const groups = new Set(sentences.map(({group}) => group).filter(group => group !== ''));
  learnButton.disabled = busy || groups.size < 2;
  saveButton.disabled = busy || !hasLearned;
  switched.disabled = busy || places?.after == null;
  byId<HTMLButtonElement>('add').querySelector('button')!.disabled = busy;
  [...list.children].forEach((row, i) => {
    row.classList.toggle('chosen', i === chosen);
    (row as HTMLElement).dataset['group'] = sentences[i]!.group;
    row.querySelector('select')!.value = sentences[i]!.group;
  });
  if (places === null) {
    return;
  }
  const seen = (switched.checked ? places.after : null) ?? places.before;
  map.show(sentences, seen.points, chosen, nearest(seen));
  byId('chosen').textContent = `${chosen + 1}. ${sentences[chosen]!.text}`;
  showNear('before', places.before);
  showNear('after', places.after);
}

function showNear(id: string, from: Places | null): void {
  const rows = from === null ? [] : nearest(from);
  byId(id).replaceChildren(
    ...rows.map(i => {
      const row = document.createElement('li');
      row.dataset['group'] = sentences[i]!.group;
      row.dataset['index'] = String(i);
      const cosine = document.createElement('span');
      cosine.textContent = from!.cosines[chosen]![i]!.toFixed(2);
      row.append(cosine, ` ${i + 1}. ${sentences[i]!.text}`);
      return row;
    }),
  );
}

function choose(index: number): void {
  chosen = index;
  showState();
}

function addRow({text, group}: Dot): void {
  const index = list.children.length;
  const row = document.createElement('li');
  const button = document.createElement('button');
  button.className = 'sentence';
  button.textContent = text;
  button.addEventListener('click', () => choose(index));
  const select = document.createElement('select');
  select.setAttribute('aria-label', `Group of sentence ${index + 1}`);
  select.append(...GROUPS.map(name => new Option(name === '' ? '–' : name, name)));
  select.value = group;
  select.addEventListener('change', () => {
    sentences[index]!.group = select.value;
    showState();
  });
  row.append(button, select);
  list.append(row);
}

function giveGroups(groupOf: (index: number) => string): void {
  sentences.forEach((sentence, i) => (sentence.group = groupOf(i)));
  showState();
}

byId('add').addEventListener('submit', event => {
  event.preventDefault();
  const text = field.value.trim();
  if (text !== '' && !busy) {
    const sentence = {text, group: ''};
    sentences.push(sentence);
    addRow(sentence);
    field.value = '';
    chosen = sentences.length - 1;
    places = null;
    void work(async () => {
      await place();
      return 'Added. Its nearest are on the right.';
    });
  }
});
byId('example').addEventListener('click', () => giveGroups(i => SAMPLES[i]?.mood ?? ''));
byId('ungroup').addEventListener('click', () => giveGroups(() => ''));
switched.addEventListener('change', showState);
learnButton.addEventListener('click', () => {
  const examples = sentences.filter(({group}) => group !== '');
  void work(async () => {
    const {parameters, bytes, seconds} = await engine.call('learn', examples, epochs.valueAsNumber || 8);
    hasLearned = true;
    await place();
    switched.checked = true;
    const size = `${parameters.toLocaleString('en')} parameters, a file of ${(bytes / 1000).toFixed(0)} kB`;
    return `Learned from ${examples.length} sentences in ${seconds.toFixed(1)} s: ${size}.`;
  });
});
saveButton.addEventListener('click', () => {
  void work(async () => {
    const url = URL.createObjectURL(await engine.call('file'));
    Object.assign(document.createElement('a'), {href: url, download: 'sentences.safetensors'}).click();
    URL.revokeObjectURL(url);
    return 'Downloaded. loadAdapter reads it.';
  });
});

sentences.forEach(addRow);
showState();
void work(async () => {
  const {parameters} = await engine.call('start', new URL('model', document.baseURI).href);
  await place();
  progress.value = 0;
  return `Ready: ${(parameters / 1e6).toFixed(1)} million weights. Choose a sentence to see what is near it.`;
});
