import emoji from 'virtual:emoji';
import {make, percent} from '../../shared/dom';
import {download} from '../../shared/files';
import {Kept} from '../../shared/kept';
import {pictureOfDrawing, pictureOfFile} from '../../shared/picture';
import {dropZone, help, liveNote, note, NumberField, page, step, trainStep} from '../../shared/page/controls';
import {isHeldOut} from '../../shared/page/heldOut';
import {oneStop} from '../../shared/page/oneStop';
import {pictureButton} from '../../shared/page/pictureButton';
import {FORGOTTEN, saveStep} from '../../shared/page/saveStep';
import {accuracyText, INTERVAL_HELP, sizeText} from '../../shared/page/results';
import {type SampleClass, Samples} from '../../shared/page/samples';
import {Store} from '../../shared/page/store';
import {isBusy, onChange, say, show, showCount, showLoading, showStep, undoButton, work} from '../../shared/page/work';
import {remote} from '../../shared/worker';
import type {Look, News, Picture, VisionEngine} from './engine';

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

/** What was learned, and the names of the classes. This is what the browser keeps. */
interface Learned {
  adapter: Blob;
  names: readonly string[];
}

interface State {
  classes: readonly SampleClass<Shown>[];
  tests: readonly Shown[];
  learned: Learned | null;
}

let pictures = 0;
/** The numbers of the pictures that the worker has. */
let known = new Set<number>();
/** The first look at the images, which goes on while the page can be used already. */
let processing = Promise.resolve();
/** By the numbers of pictures, in the classes that there were then. */
let looks = new Map<number, {before: string; after: string | null; chance: number}>();

const engine = remote<VisionEngine, News>(
  new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}),
  showNews,
);
const kept = new Kept<Learned | null>('vision');
const store = new Store<State, Learned | null>(
  {classes: [], tests: [], learned: null},
  {keep: {in: kept, names: ['learned'], of: ({learned}) => learned}, settle},
);
const hasLearned = () => store.state.learned !== null;
const epochs = new NumberField('epochs', 'Epochs', {value: 8, max: 40});
const samples = new Samples<Shown>({
  ...{things: 'images', accept: 'image/*', needed: 3, advised: 10},
  classes: () => store.state.classes,
  change: (what, classes, said) => change(what, {classes}, said),
  read: picturesIn,
  restore: async () =>
    change('example restored', await emojiState(), 'The example is restored. Undo restores your classes.'),
  clear: () => change('all removed', {classes: [], tests: []}, 'Removed. Undo restores them.'),
  draw: ({id, canvas}, {name, number, isHeldOut: isHeld, remove}) => {
    const after = isHeld ? looks.get(id)?.after : null;
    const isWrong = after != null && after !== name;
    const about = `${isHeld ? ', which is held out' : ''}${isWrong ? ` and was classified as ${after}` : ''}`;
    const drawn = pictureButton(canvas, `Remove image ${number} of ${name}${about}`, remove);
    drawn.classList.toggle('held', isHeld);
    drawn.classList.toggle('wrong', isWrong);
    return drawn;
  },
});

function showNews(news: News): void {
  if (news.kind === 'step') {
    showStep(news);
  } else if (news.kind === 'loading') {
    showLoading('model', news);
  } else {
    showCount('Processing images', news);
  }
}

/** Changes what the visitor made, classifies the images again, and returns what to say. */
async function change(what: string, changes: Partial<State>, said: string): Promise<string> {
  await processing;
  store.change(what, changes);
  await look();
  return said;
}

/** Gives the worker the adapter and images of the page. */
async function settle({learned: former}: State): Promise<void> {
  await processing;
  const {learned} = store.state;
  if (learned !== former) {
    await (learned === null ? engine.forget() : engine.open(new File([learned.adapter], 'vision.safetensors')));
  }
  await look();
}

/** Lets the worker classify the images to try, and those that are held out. */
async function look(): Promise<void> {
  const {classes, tests, learned} = store.state;
  const own = classes.map(each => each.samples);
  const tried = [...tests, ...own.flatMap(each => each.filter((_, i) => isHeldOut(i)))];
  const sent = ({id, pixels}: Shown): Picture => (known.has(id) ? {id} : {id, pixels});
  const seen = await engine.look(own.map(each => each.map(sent)), tried.map(sent)); // prettier-ignore
  known = new Set([...own.flat(), ...tests].map(({id}) => id));
  const lookOf = ({before, after}: Look) => ({
    before: before === null ? '–' : classes[before]!.name,
    after: after === null ? null : learned!.names[after.label]!,
    chance: after?.chance ?? 0,
  });
  looks = new Map(seen.map((each, i) => [tried[i]!.id, lookOf(each)]));
}

function shownOf(canvas: HTMLCanvasElement): Shown {
  const pixels = canvas.getContext('2d', {willReadFrequently: true})!.getImageData(0, 0, SIDE, SIDE);
  return {id: pictures++, pixels, canvas};
}

function picturesIn(files: readonly File[]): Promise<Shown[]> {
  return Promise.all(files.map(async file => shownOf(await pictureOfFile(file, SIDE))));
}

/** How many of the images to try are in another class after training, and how many are correct. */
function triedText(): string {
  const {tests} = store.state;
  if (tests.length === 0 || !hasLearned()) {
    return '';
  }
  const moved = tests.filter(({id}) => hasMoved(id)).length;
  const labelled = tests.filter(({truth}) => truth !== undefined);
  const accuracy = (when: 'before' | 'after') =>
    accuracyText(labelled.filter(({id, truth}) => looks.get(id)?.[when] === truth).length, labelled.length);
  const accuracies =
    labelled.length === 0
      ? ''
      : ` Accuracy on the ${labelled.length} images whose class is known: ${accuracy('before')} before training, ` +
        `${accuracy('after')} after.`;
  return `${moved} of ${tests.length} changed class.${accuracies}`;
}

function hasMoved(id: number): boolean {
  const seen = looks.get(id);
  return seen?.after != null && seen.after !== seen.before;
}

function testOf({id, canvas, truth}: Shown, index: number): HTMLLIElement {
  const seen = looks.get(id);
  const isKnown = seen?.after != null;
  const isWrong = isKnown && truth !== undefined && seen.after !== truth;
  const sureness = isKnown && seen.chance < UNSURE ? ', unsure' : '';
  const remove = () => {
    const tests = store.state.tests.filter((_, i) => i !== index);
    void work(() => change('image removed', {tests}, 'Removed. Undo restores it.'));
  };
  return make(
    'li',
    {className: `${hasMoved(id) ? 'moved' : ''}${isWrong ? ' wrong' : ''}`},
    pictureButton(canvas, `Remove image ${index + 1}`, remove),
    make('span', {className: 'before'}, `before: ${seen?.before ?? '–'}`),
    make('span', {className: 'after'}, `after: ${isKnown ? `${seen.after}, ${percent(seen.chance)}${sureness}` : '–'}`),
    ...(isWrong ? [make('span', {className: 'verdict'}, `✗ wrong: ${truth}`)] : []),
  );
}

/** Emoji of each of some kinds, and others of each to try. */
async function emojiState(): Promise<Pick<State, 'classes' | 'tests'>> {
  const draw = async ({label, body}: {label: number; body: string}) => ({
    ...shownOf(await pictureOfDrawing(body, SIDE)),
    truth: emoji.names[label]!,
  });
  const [own, tests] = [await Promise.all(emoji.train.map(draw)), await Promise.all(emoji.test.map(draw))];
  return {classes: emoji.names.map(name => ({name, samples: own.filter(({truth}) => truth === name)})), tests};
}

async function train(): Promise<string> {
  await processing;
  const {heldOut, seconds, isStopped, ...size} = await engine.learn(epochs.value);
  const learned = {adapter: await engine.file(), names: store.state.classes.map(({name}) => name)};
  const {count, before, after} = heldOut;
  const accuracy =
    count === 0
      ? 'No image was held out, so the probabilities are not calibrated: give each class at least three images.'
      : `Accuracy on ${count} held-out images: ${accuracyText(before, count)} before training, ` +
        `${accuracyText(after, count)} after.`;
  const began = isStopped ? 'Stopped after' : 'Trained in';
  return change('training', {learned}, `${began} ${seconds.toFixed(0)} s: ${sizeText(size)}. ${accuracy}`);
}

/** Opens an adapter. If it has as many classes as the page, it is assumed to have their names. */
async function open(file: File): Promise<string> {
  await processing;
  const {classes: count, ...size} = await engine.open(file);
  const numbered = Array.from({length: count}, (_, i) => ({name: `Class ${i + 1}`, samples: []}));
  const classes = store.state.classes.length === count ? store.state.classes : numbered;
  const learned = {adapter: file, names: classes.map(({name}) => name)};
  return change('file opened', {classes, learned}, `Opened ${file.name}: ${count} classes, ${sizeText(size)}.`);
}

async function forget(): Promise<string> {
  await engine.forget();
  return change('adapter forgotten', {learned: null}, FORGOTTEN);
}

async function saveModel(): Promise<string> {
  const files = await engine.model(store.state.learned!.names);
  download(...Object.entries(files).map(([name, content]) => ({name, content})));
  return 'Downloaded: config.json, preprocessor_config.json and model.safetensors, for loadTransformer.';
}

async function start(): Promise<string> {
  const [learned, example] = [await kept.read(), await emojiState()];
  const isExample = learned === null || learned.names.join('\n') === emoji.names.join('\n');
  // Shown while the model loads.
  store.set(isExample ? example : {classes: learned.names.map(name => ({name, samples: []}))});
  const {parameters} = await engine.start(new URL('model/', document.baseURI).href);
  if (learned !== null) {
    await engine.open(new File([learned.adapter], 'vision.safetensors'));
    store.set({learned});
  }
  const again = learned === null ? '' : ' Your previous adapter is restored.';
  return `Ready: ${(parameters / 1e6).toFixed(1)} million parameters.${again}`;
}

const tests = oneStop(make('ul', {id: 'tests', ariaLabel: 'Images to classify'}));
onChange(() => tests.replaceChildren(...store.state.tests.map(testOf)));

page(
  [
    step(
      'collect',
      'Classes',
      note(
        'Drop images on a class, or choose files. Click an image to remove it. Every third image of a class is held ' +
          'out: it has a dashed border, and tests what was learned from the others.',
      ),
      ...samples.elements,
    ),
    trainStep({
      fields: [epochs.field],
      help: `An epoch is one pass over all training images. ${INTERVAL_HELP}`,
      missing: () => samples.missing(),
      train: () => work(train),
      stop: () => engine.stop(),
    }),
    step(
      'try',
      'Try new images',
      dropZone(
        'images',
        {accept: 'image/*,.safetensors', multiple: true, more: ' to classify them, or an adapter to open it'},
        files =>
          work(async () => {
            const adapter = files.find(({name}) => name.endsWith('.safetensors'));
            return adapter === undefined
              ? change('images to try added', {tests: [...store.state.tests, ...(await picturesIn(files))]}, 'Added.')
              : open(adapter);
          }),
      ),
      help(
        '<em>Before</em> is the class whose images look most similar to the model without training. <em>After</em> is ' +
          'the class that the trained model predicts, with its probability. The probabilities are calibrated on the ' +
          'held-out images, which are few. Below 60 % the page says that the model is unsure.',
      ),
      liveNote('moved', triedText, {role: 'status'}),
      tests,
    ),
    saveStep({
      name: 'vision',
      adapter: () => store.state.learned?.adapter ?? null,
      forget,
      others: {'save-model': ['Download model', saveModel]},
      about:
        'The adapter is a small file. Drop it on the page to open it again. The model is three files (44 MB) for ' +
        '<code>loadTransformer</code> or for <code>transformers</code> in Python. This browser keeps the adapter and ' +
        'the names of its classes, but no images.',
    }),
  ],
  undoButton,
);

void work(start).then(() => {
  const {textContent: ready} = document.querySelector('#status')!;
  processing = look()
    .catch((error: unknown) => say((error as Error).message))
    .then(() => {
      if (!isBusy()) {
        say(ready);
        show();
      }
    });
});
