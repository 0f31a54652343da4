import emoji from 'virtual:emoji';
import {byId, make, percent, sayOutcome, wholeNumberIn} from '../../shared/dom';
import {download, onFiles} from '../../shared/files';
import {History} from '../../shared/history';
import {Kept} from '../../shared/kept';
import {TimeLeft} from '../../shared/timeLeft';
import {pictureOfDrawing, pictureOfFile} from '../../shared/picture';
import {Remote} from '../../shared/worker';
import {type Engine, isHeldOut, type Look, type News, type Picture, type Size} from './protocol';

/** The images that a class needs, and how many are recommended. */
const [NEEDED, ADVISED] = [3, 10];
/** Below this probability the model is called unsure. */
const UNSURE = 0.6;
/** Width and height of an image on the page. The worker makes it smaller. */
const SIDE = 224;

/** An image, as it is shown and as it is sent. */
interface Shown extends Required<Picture> {
  canvas: HTMLCanvasElement;
  /** The name of its class, if that is known. */
  truth?: string;
}

interface PictureClass {
  name: string;
  pictures: readonly Shown[];
}

/** What was learned, and the names of the classes. This is what the browser keeps. */
interface Learned {
  adapter: Blob;
  names: readonly string[];
}

/** All that the visitor made. */
interface State {
  classes: readonly PictureClass[];
  tests: readonly Shown[];
  learned: Learned | null;
}

const [statusLine, progress] = [byId('status'), byId<HTMLProgressElement>('progress')];

const left = new TimeLeft();

let state: State = {classes: [], tests: [], learned: null};
let busy = true;
let isTraining = false;
let pictures = 0;
/** The numbers of the pictures that the worker has. */
let known = new Set<number>();
/** The first look at the images, which goes on while the page can be used already. */
let processing = Promise.resolve();
/** By the numbers of pictures, in the classes that there were then. */
let looks = new Map<number, {before: string; after: string | null; chance: number}>();

const engine = new Remote<Engine, News>(new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}), showNews);
const history = new History(byId('undo'));
const kept = new Kept<Learned | null>('vision');

function showNews(news: News): void {
  switch (news.kind) {
    case 'loading':
      progress.value = news.total === 0 ? 0 : news.done / news.total;
      statusLine.textContent = `Loading the model: ${(news.done / 1e6).toFixed(0)} MB`;
      break;
    case 'looking':
      progress.value = news.done / news.total;
      statusLine.textContent = `Processing images: ${news.done} of ${news.total}`;
      break;
    case 'step':
      progress.value = news.step / news.steps;
      statusLine.textContent =
        `Step ${news.step} of ${news.steps}, loss ${news.loss.toFixed(3)}` + left.text(news.step, news.steps);
  }
}

/** Does something that takes a while, with the controls disabled, and then classifies the images again. */
async function work(doing: () => Promise<string>): Promise<void> {
  busy = true;
  show();
  await sayOutcome(statusLine, async () => {
    await processing;
    const said = await doing();
    await look();
    return said;
  });
  busy = false;
  progress.value = 0;
  show();
}

/** Lets the worker classify the images to try, and those that are held out. */
async function look(): Promise<void> {
  const {classes, tests, learned} = state;
  const tried = [...tests, ...classes.flatMap(({pictures: own}) => own.filter((_, i) => isHeldOut(i)))];
  const sent = ({id, pixels}: Shown): Picture => (known.has(id) ? {id} : {id, pixels});
  const own = classes.map(each => each.pictures);
  const found = await engine.call(
    'look',
    own.map(each => each.map(sent)),
    tried.map(sent),
  );
  known = new Set([...own.flat(), ...tests].map(({id}) => id));
  const nameOf = ({before}: Look) => (before === null ? '–' : classes[before]!.name);
  looks = new Map(
    found.map((each, i) => [
      tried[i]!.id,
      {
        before: nameOf(each),
        after: each.after === null ? null : learned!.names[each.after.label]!,
        chance: each.after?.chance ?? 0,
      },
    ]),
  );
}

function shownOf(canvas: HTMLCanvasElement): Shown {
  const pixels = canvas.getContext('2d', {willReadFrequently: true})!.getImageData(0, 0, SIDE, SIDE);
  return {id: pictures++, pixels, canvas};
}

async function picturesIn(files: readonly File[]): Promise<Shown[]> {
  return Promise.all(files.map(async file => shownOf(await pictureOfFile(file, SIDE))));
}

/** Changes the state. The browser keeps the adapter. */
function become(next: Partial<State>): void {
  if (next.learned !== undefined && next.learned !== state.learned) {
    void kept.write(next.learned);
  }
  state = {...state, ...next};
}

/** Changes classes or images, and lets the visitor undo that. */
function change(what: string, changing: () => Promise<Partial<State>> | Partial<State>, said: string): Promise<void> {
  return work(async () => {
    const {classes, tests} = state;
    const next = await changing();
    history.add(what, () =>
      work(() => {
        become({classes, tests});
        return Promise.resolve('Undone.');
      }),
    );
    become(next);
    return said;
  });
}

/** Replaces or removes the adapter, and lets the visitor undo that. */
function changeLearned(what: string, doing: () => Promise<{said: string; next: Partial<State>}>): Promise<void> {
  return work(async () => {
    const {classes, learned} = state;
    const {said, next} = await doing();
    history.add(what, () => work(() => bringBack({classes, learned})));
    become(next);
    return said;
  });
}

/** Restores an earlier adapter. */
async function bringBack(former: Pick<State, 'classes' | 'learned'>): Promise<string> {
  if (former.learned === null) {
    await engine.call('forget');
  } else {
    await engine.call('open', new File([former.learned.adapter], 'vision.safetensors'));
  }
  become(former);
  return 'Undone.';
}

function sizeText({parameters, bytes}: Size): string {
  return `${parameters.toLocaleString('en')} parameters, a file of ${(bytes / 1000).toFixed(0)} kB`;
}

/** What is missing to train, if anything is. */
function missingText(): string {
  const short = state.classes.filter(({pictures: own}) => own.length < NEEDED).map(({name}) => name);
  if (state.classes.length < 2) {
    return 'Training needs at least two classes.';
  }
  return short.length === 0
    ? ''
    : `Each class needs at least ${NEEDED} images (${ADVISED} or more are better). Too few: ${short.join(', ')}.`;
}

function show(): void {
  const {classes, tests, learned} = state;
  const enabled: Record<string, boolean> = {
    'class-name': !busy,
    'add-class': !busy,
    emoji: !busy,
    clear: !busy && classes.length + tests.length > 0,
    learn: !busy && missingText() === '',
    stop: isTraining,
    files: !busy,
    save: !busy && learned !== null,
    'save-model': !busy && learned !== null,
    forget: !busy && learned !== null,
  };
  for (const [id, isEnabled] of Object.entries(enabled)) {
    byId<HTMLButtonElement>(id).disabled = !isEnabled;
  }
  history.allow(!busy);
  byId('missing').textContent = missingText();
  byId('classes').replaceChildren(...classes.map(cardOf));
  byId('tests').replaceChildren(...tests.map(testOf));
  byId('moved').textContent = tests.length === 0 || learned === null ? '' : triedText(tests);
}

/** How many of the images to try are in another class after training, and how many are correct. */
function triedText(tests: readonly Shown[]): string {
  const moved = tests.filter(({id}) => hasMoved(id)).length;
  const known = tests.filter(({truth}) => truth !== undefined);
  const correct = (when: 'before' | 'after') => known.filter(({id, truth}) => looks.get(id)?.[when] === truth).length;
  const accuracy =
    known.length === 0
      ? ''
      : ` Accuracy: ${correct('before')} of ${known.length} before training, ${correct('after')} after.`;
  return `${moved} of ${tests.length} changed class.${accuracy}`;
}

function cardOf({name, pictures: own}: PictureClass, index: number): HTMLElement {
  const add = (files: readonly File[]) =>
    change(
      `images added to ${name}`,
      async () => ({classes: withPictures(index, [...own, ...(await picturesIn(files))])}),
      `Added to ${name}.`,
    );
  const files = make('input', {type: 'file', accept: 'image/*', multiple: true, ariaLabel: `Add images to ${name}`});
  files.addEventListener('change', () => void add([...(files.files ?? [])]));
  const remove = make('button', {type: 'button', className: 'quiet', ariaLabel: `Remove ${name}`}, 'Remove');
  remove.addEventListener('click', () => {
    void change(`${name} removed`, () => ({classes: classesWithout(index)}), `Removed ${name}. Undo restores it.`);
  });
  const card = make(
    'section',
    {className: 'class', ariaLabel: name},
    make('header', {}, make('h3', {}, `${name} (${own.length})`), remove),
    files,
    make(
      'div',
      {className: 'pictures'},
      ...own.map((picture, i) => {
        const isHeld = isHeldOut(i);
        const found = isHeld ? looks.get(picture.id)?.after : null;
        const isWrong = found != null && found !== name;
        const about = `${isHeld ? ', which is held out' : ''}${isWrong ? ` and was classified as ${found}` : ''}`;
        const label = `Remove image ${i + 1} of ${name}${about}`;
        const button = pictureButton(picture, label, isHeld, () =>
          change(
            'image removed',
            () => ({classes: withPictures(index, without(own, i))}),
            'Removed. Undo restores it.',
          ),
        );
        button.classList.toggle('wrong', isWrong);
        return button;
      }),
    ),
  );
  card.querySelectorAll<HTMLButtonElement | HTMLInputElement>('button, input').forEach(each => (each.disabled = busy));
  card.addEventListener('dragover', event => {
    event.preventDefault();
    event.stopPropagation();
    card.classList.add('over');
  });
  card.addEventListener('dragleave', () => card.classList.remove('over'));
  card.addEventListener('drop', event => {
    event.preventDefault();
    event.stopPropagation();
    card.classList.remove('over');
    const dropped = [...(event.dataTransfer?.files ?? [])];
    if (!busy && dropped.length > 0) {
      void add(dropped);
    }
  });
  return card;
}

function without<T>(list: readonly T[], index: number): T[] {
  return list.filter((_, i) => i !== index);
}

function classesWithout(index: number): PictureClass[] {
  return without(state.classes, index);
}

function withPictures(index: number, own: readonly Shown[]): PictureClass[] {
  return state.classes.map((each, i) => (i === index ? {...each, pictures: own} : each));
}

function pictureButton({canvas}: Shown, label: string, isHeld: boolean, act: () => unknown): HTMLButtonElement {
  const small = Object.assign(document.createElement('canvas'), {width: 96, height: 96});
  small.getContext('2d')!.drawImage(canvas, 0, 0, 96, 96);
  const button = make('button', {type: 'button', title: label, ariaLabel: label, disabled: busy}, small);
  button.classList.toggle('held', isHeld);
  button.addEventListener('click', () => void act());
  return button;
}

function hasMoved(id: number): boolean {
  const found = looks.get(id);
  return found?.after != null && found.after !== found.before;
}

function testOf(picture: Shown, index: number): HTMLLIElement {
  const found = looks.get(picture.id);
  const isKnown = found?.after != null;
  const isWrong = isKnown && picture.truth !== undefined && found.after !== picture.truth;
  const sureness = isKnown && found.chance < UNSURE ? ', unsure' : '';
  const after = isKnown ? `${found.after}, ${percent(found.chance)}${sureness}` : '–';
  const item = make(
    'li',
    {className: `${hasMoved(picture.id) ? 'moved' : ''}${isWrong ? ' wrong' : ''}`},
    pictureButton(picture, `Remove image ${index + 1}`, false, () =>
      change('image removed', () => ({tests: without(state.tests, index)}), 'Removed. Undo restores it.'),
    ),
    make('span', {className: 'before'}, `before: ${found?.before ?? '–'}`),
    make('span', {className: 'after'}, `after: ${after}`),
  );
  if (isWrong) {
    item.append(make('span', {className: 'verdict'}, `✗ wrong: ${picture.truth}`));
  }
  return item;
}

/** Ten emoji of each of some kinds, and four others of each to try. */
async function emojiState(): Promise<Pick<State, 'classes' | 'tests'>> {
  const draw = async ({label, body}: {label: number; body: string}) => ({
    label,
    shown: {...shownOf(await pictureOfDrawing(body, SIDE)), truth: emoji.names[label]!},
  });
  const [own, others] = [await Promise.all(emoji.train.map(draw)), await Promise.all(emoji.test.map(draw))];
  const classes = emoji.names.map((name, label) => ({
    name,
    pictures: own.filter(each => each.label === label).map(({shown}) => shown),
  }));
  return {classes, tests: others.map(({shown}) => shown)};
}

async function train(): Promise<{said: string; next: Partial<State>}> {
  const {classes} = state;
  statusLine.textContent = 'Training …';
  const {heldOut, seconds, isStopped, ...size} = await engine.call('learn', wholeNumberIn(byId('epochs')));
  const adapter = await engine.call('file');
  const began = isStopped ? 'Stopped after' : 'Trained in';
  const {count, before, after} = heldOut;
  const accuracy =
    count === 0
      ? 'No image was held out, so the probabilities are not calibrated: give each class at least five images.'
      : `Accuracy on ${count} held-out images: ${percent(before / count)} before training, ${percent(after / count)} after.`;
  return {
    said: `${began} ${seconds.toFixed(0)} s: ${sizeText(size)}. ${accuracy}`,
    next: {learned: {adapter, names: classes.map(({name}) => name)}},
  };
}

/** Opens an adapter. If it has as many classes as the page, it is assumed to have their names. */
async function open(file: File): Promise<{said: string; next: Partial<State>}> {
  const {classes: count, ...size} = await engine.call('open', file);
  const isKnown = state.classes.length === count;
  const classes = isKnown
    ? state.classes
    : Array.from({length: count}, (_, i) => ({name: `Class ${i + 1}`, pictures: []}));
  return {
    said: `Opened ${file.name}: ${count} classes, ${sizeText(size)}.`,
    next: {classes, learned: {adapter: file, names: classes.map(({name}) => name)}},
  };
}

const onClick = (id: string, act: () => unknown) => byId(id).addEventListener('click', () => void act());
byId('new-class').addEventListener('submit', event => {
  event.preventDefault();
  const field = byId<HTMLInputElement>('class-name');
  const name = field.value.trim();
  if (busy || name === '') {
    return;
  }
  if (state.classes.some(each => each.name === name)) {
    statusLine.textContent = `The class ${name} exists already.`;
    return;
  }
  field.value = '';
  void change('class added', () => ({classes: [...state.classes, {name, pictures: []}]}), `Added the class ${name}.`);
});
onClick('emoji', () =>
  change('example restored', emojiState, 'Restored: ten emoji of each of five kinds, and four others of each to try.'),
);
onClick('clear', () => change('all removed', () => ({classes: [], tests: []}), 'Removed. Undo restores them.'));
onClick('learn', async () => {
  isTraining = true;
  await changeLearned('training', train);
  isTraining = false;
  show();
});
onClick('stop', () => engine.call('stop'));
onClick('save', () => {
  download({name: 'vision.safetensors', content: state.learned!.adapter});
  statusLine.textContent = 'Downloaded. Load it with loadAdapter, or drop it on this page.';
});
onClick('save-model', () =>
  work(async () => {
    const files = await engine.call('model', state.learned!.names);
    download(...Object.entries(files).map(([name, content]) => ({name, content})));
    return 'Downloaded: config.json, preprocessor_config.json and model.safetensors, for loadTransformer.';
  }),
);
onClick('forget', () =>
  changeLearned('adapter forgotten', async () => {
    await engine.call('forget');
    return {said: 'Adapter removed. Undo restores it until you reload the page.', next: {learned: null}};
  }),
);
onFiles(byId('files'), byId('drop'), files => {
  const adapter = files.find(({name}) => name.endsWith('.safetensors'));
  if (busy) {
    return;
  }
  if (adapter !== undefined) {
    void changeLearned('file opened', () => open(adapter));
    return;
  }
  void change('images to try added', async () => ({tests: [...state.tests, ...(await picturesIn(files))]}), 'Added.');
});

async function start(): Promise<string> {
  const [learned, example] = [await kept.read(), await emojiState()];
  const isExample = learned === null || learned.names.join('\n') === emoji.names.join('\n');
  const open = isExample ? example : {classes: learned.names.map(name => ({name, pictures: []})), tests: []};
  state = {...open, learned: null};
  show(); // while the model loads
  const {parameters} = await engine.call('start', new URL('model/', document.baseURI).href);
  if (learned !== null) {
    await engine.call('open', new File([learned.adapter], 'vision.safetensors'));
    state = {...state, learned};
  }
  const again = learned === null ? '' : ' Your previous adapter is restored.';
  return `Ready: ${(parameters / 1e6).toFixed(1)} million parameters.${again}`;
}

show();
void sayOutcome(statusLine, async () => {
  const ready = await start();
  [busy, progress.value] = [false, 0];
  processing = look()
    .catch((error: unknown) => void (statusLine.textContent = (error as Error).message))
    .then(() => {
      if (!busy) {
        [statusLine.textContent, progress.value] = [ready, 0];
        show();
      }
    });
  show();
  return ready;
});
