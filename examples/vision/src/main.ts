import emoji from 'virtual:emoji';
import {byId, make, percent, sayOutcome, wholeNumberIn} from '../../shared/dom';
import {download, onFiles} from '../../shared/files';
import {History} from '../../shared/history';
import {Kept} from '../../shared/kept';
import {pictureOfDrawing, pictureOfFile} from '../../shared/picture';
import {Remote} from '../../shared/worker';
import {type Engine, isHeldOut, type Look, type News, type Picture, type Size} from './protocol';

/** Fewer pictures of a class do not train; so many are advised. */
const [NEEDED, ADVISED] = [3, 10];
/** Width and height of a picture as the page has it. The worker makes it smaller. */
const SIDE = 224;

/** A picture of the visitor, as it is shown and as it is sent. */
interface Shown extends Required<Picture> {
  canvas: HTMLCanvasElement;
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

let state: State = {classes: [], tests: [], learned: null};
let busy = true;
let isTraining = false;
let pictures = 0;
/** The numbers of the pictures that the worker has. */
let known = new Set<number>();
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
      statusLine.textContent = `Looking at pictures: ${news.done} of ${news.total}`;
      break;
    case 'step':
      progress.value = news.step / news.steps;
      statusLine.textContent = `Step ${news.step} of ${news.steps}, loss ${news.loss.toFixed(3)}`;
  }
}

/** Does something that takes a while, with everything disabled that would disturb it, and looks at pictures again. */
async function work(doing: () => Promise<string>): Promise<void> {
  busy = true;
  show();
  await sayOutcome(statusLine, async () => {
    const said = await doing();
    await look();
    return said;
  });
  busy = false;
  progress.value = 0;
  show();
}

/** Asks the worker in which classes the pictures are that are to be tried. */
async function look(): Promise<void> {
  const {classes, tests, learned} = state;
  const sent = ({id, pixels}: Shown): Picture => (known.has(id) ? {id} : {id, pixels});
  const own = classes.map(each => each.pictures);
  const found = await engine.call(
    'look',
    own.map(each => each.map(sent)),
    tests.map(sent),
  );
  known = new Set([...own.flat(), ...tests].map(({id}) => id));
  const nameOf = ({before}: Look) => (before === null ? '–' : classes[before]!.name);
  looks = new Map(
    found.map((each, i) => [
      tests[i]!.id,
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

/** Takes on another state, of which the browser keeps what was learned. */
function become(next: Partial<State>): void {
  if (next.learned !== undefined && next.learned !== state.learned) {
    void kept.write(next.learned);
  }
  state = {...state, ...next};
}

/** Changes classes or pictures, and lets the visitor undo it. */
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

/** Does what gives another adapter, or none, and lets the visitor undo it. */
function changeLearned(what: string, doing: () => Promise<{said: string; next: Partial<State>}>): Promise<void> {
  return work(async () => {
    const {classes, learned} = state;
    const {said, next} = await doing();
    history.add(what, () => work(() => bringBack({classes, learned})));
    become(next);
    return said;
  });
}

/** Gives the worker another adapter. */
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

/** What keeps it from training, if anything does. */
function missingText(): string {
  const short = state.classes.filter(({pictures: own}) => own.length < NEEDED).map(({name}) => name);
  if (state.classes.length < 2) {
    return 'Two classes are needed to tell apart.';
  }
  return short.length === 0
    ? ''
    : `Each class needs ${NEEDED} pictures, and ${ADVISED} are advised: ${short.join(', ')} ${short.length === 1 ? 'has' : 'have'} fewer.`;
}

function show(): void {
  const {classes, tests, learned} = state;
  const enabled: Record<string, boolean> = {
    'class-name': !busy,
    'add-class': !busy,
    emoji: !busy,
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
  const moved = tests.filter(({id}) => hasMoved(id)).length;
  byId('moved').textContent =
    tests.length === 0 || learned === null ? '' : `${moved} of ${tests.length} moved by what it has learned.`;
}

function cardOf({name, pictures: own}: PictureClass, index: number): HTMLElement {
  const add = (files: readonly File[]) =>
    change(
      `pictures added to ${name}`,
      async () => ({classes: withPictures(index, [...own, ...(await picturesIn(files))])}),
      `Added to ${name}.`,
    );
  const files = make('input', {type: 'file', accept: 'image/*', multiple: true, ariaLabel: `Add pictures to ${name}`});
  files.addEventListener('change', () => void add([...(files.files ?? [])]));
  const remove = make('button', {type: 'button', className: 'quiet', ariaLabel: `Remove ${name}`}, 'Remove');
  remove.addEventListener('click', () => {
    void change(`${name} removed`, () => ({classes: classesWithout(index)}), `Removed ${name}. Undo brings it back.`);
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
        const label = `Remove picture ${i + 1} of ${name}${isHeld ? ', which is held out' : ''}`;
        return pictureButton(picture, label, isHeld, () =>
          change(
            'picture removed',
            () => ({classes: withPictures(index, without(own, i))}),
            'Removed. Undo brings it back.',
          ),
        );
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
  const after = found?.after == null ? '–' : `${found.after}, ${percent(found.chance)}`;
  return make(
    'li',
    {className: hasMoved(picture.id) ? 'moved' : ''},
    pictureButton(picture, `Remove picture ${index + 1}`, false, () =>
      change('picture removed', () => ({tests: without(state.tests, index)}), 'Removed. Undo brings it back.'),
    ),
    make('span', {className: 'before'}, `before: ${found?.before ?? '–'}`),
    make('span', {className: 'after'}, `after: ${after}`),
  );
}

/** Ten emoji of each of some kinds, and a few to try. */
async function emojiState(): Promise<Partial<State>> {
  const draw = async ({label, body}: {label: number; body: string}) => ({
    label,
    shown: shownOf(await pictureOfDrawing(body, SIDE)),
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
  const began = isStopped ? 'Stopped, with what it learned so far' : 'Learned';
  const {count, before, after} = heldOut;
  const of = count === 0 ? '' : ` Of ${count} held out ${before} were right before, ${after} are after.`;
  return {
    said: `${began} in ${seconds.toFixed(0)} s: ${sizeText(size)}.${of}`,
    next: {learned: {adapter, names: classes.map(({name}) => name)}},
  };
}

/** Opens an adapter. Where it has as many classes as there are here, it is taken to have their names. */
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
    statusLine.textContent = `There is a class ${name} already.`;
    return;
  }
  field.value = '';
  void change('class added', () => ({classes: [...state.classes, {name, pictures: []}]}), `Added the class ${name}.`);
});
onClick('emoji', () =>
  change('emoji put in', emojiState, 'Ten emoji of each of five kinds, and four others of each to try.'),
);
onClick('learn', async () => {
  isTraining = true;
  await changeLearned('training', train);
  isTraining = false;
  show();
});
onClick('stop', () => engine.call('stop'));
onClick('save', () => {
  download({name: 'vision.safetensors', content: state.learned!.adapter});
  statusLine.textContent = 'Downloaded. loadAdapter reads it.';
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
    return {said: 'The adapter is gone. Undo brings it back, until the page is loaded again.', next: {learned: null}};
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
  void change(
    'pictures to try added',
    async () => ({tests: [...state.tests, ...(await picturesIn(files))]}),
    'Added. Pictures that moved have another class after training.',
  );
});

show();
void work(async () => {
  const {parameters} = await engine.call('start', new URL('model/', document.baseURI).href);
  const learned = await kept.read();
  if (learned !== null) {
    await engine.call('open', new File([learned.adapter], 'vision.safetensors'));
    state = {...state, learned, classes: learned.names.map(name => ({name, pictures: []}))};
  }
  const again = learned === null ? '' : ' Your adapter from last time is here again.';
  return `Ready: ${(parameters / 1e6).toFixed(1)} million parameters.${again} Add classes, or begin with emoji.`;
});
