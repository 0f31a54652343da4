import drawings from 'virtual:samples';
import {make} from '../../shared/dom';
import {Kept} from '../../shared/kept';
import {choice, dropZone, help, labelled, note, NumberField, page, step, trainStep} from '../../shared/page/controls';
import {oneStop} from '../../shared/page/oneStop';
import {pictureButton} from '../../shared/page/pictureButton';
import {accuracyText, INTERVAL_HELP} from '../../shared/page/results';
import {type SampleClass, Samples} from '../../shared/page/samples';
import {FORGOTTEN, saveStep} from '../../shared/page/saveStep';
import {Store} from '../../shared/page/store';
import {showChances, table, TRAININGS} from '../../shared/page/tables';
import {Webcam} from '../../shared/page/webcam';
import {onChange, progress, undoButton, work} from '../../shared/page/work';
import {fileOf, pictureOfDrawing, pictureOfFile} from '../../shared/picture';
import {SIZE} from './base';
import {PictureEngine} from './engine';
import type {Way} from './learn';

type Classes = readonly SampleClass<HTMLCanvasElement>[];

/** What was learned, and the names of the classes. */
interface Learned {
  adapter: Blob;
  names: readonly string[];
}

interface State {
  classes: Classes;
  learned: Learned | null;
  /** The rows of the table of trainings. */
  trainings: readonly (readonly string[])[];
}

interface KeptState {
  classes: readonly SampleClass<File>[];
  learned: Learned | null;
}

/** How many drawings of a kind are in its class. The others are to try. */
const TO_LEARN = 15;

const unseen: HTMLCanvasElement[] = [];
const files = new WeakMap<HTMLCanvasElement, Promise<File>>();
let example: Classes = [];
let chosen: HTMLCanvasElement | undefined;

const engine = new PictureEngine(share => (progress.value = share));
const kept = new Kept<KeptState>('picture classes');
const store = new Store<State, KeptState>(
  {classes: [], learned: null, trainings: []},
  {keep: {in: kept, names: ['classes', 'learned'], of: keptOf}, settle},
);
const backend = choice('backend', {wasm: 'wasm', webgl: 'webgl'});
const way = choice('way', {LoRA: 'LoRA and a new head', 'head alone': 'A new head only'}, 'train-help');
const epochs = new NumberField('epochs', 'Epochs', {value: 20, max: 60, describedBy: 'train-help'});
const copies = new NumberField('copies', 'Varied copies', {value: 1, min: 0, max: 8, describedBy: 'train-help'});
const webcam = new Webcam(SIZE);
const chances = make('div', {id: 'chances', role: 'status'});
const hasLearned = () => store.state.learned !== null;

const samples = new Samples<HTMLCanvasElement>({
  ...{things: 'images', accept: 'image/*', needed: 5, advised: 10},
  classes: () => store.state.classes,
  change: (what, classes, said) => {
    store.change(what, {classes});
    return said;
  },
  read: picked => Promise.all(picked.map(file => pictureOfFile(file, SIZE))),
  record: {
    label: 'Webcam',
    start: (_, add) => webcam.open(picture => void work(() => add([picture]))),
  },
  restore: () => {
    store.change('example restored', {classes: example});
    return 'The example is restored. Undo restores your classes.';
  },
  draw: (picture, {name, number, isHeldOut, remove}) => {
    const label = `Remove image ${number} of ${name}${isHeldOut ? ', which is held out' : ''}`;
    const drawn = pictureButton(picture, label, remove);
    drawn.classList.toggle('held', isHeldOut);
    return drawn;
  },
});

async function keptOf({classes, learned}: State): Promise<KeptState> {
  const fileOnce = (picture: HTMLCanvasElement) => {
    const file = files.get(picture) ?? fileOf(picture);
    files.set(picture, file);
    return file;
  };
  const asFiles = async ({name, samples: own}: Classes[0]) => ({name, samples: await Promise.all(own.map(fileOnce))});
  return {classes: await Promise.all(classes.map(asFiles)), learned};
}

/** Gives the engine the adapter of the page. */
async function settle({learned: former}: Pick<State, 'learned'>): Promise<void> {
  const {learned} = store.state;
  if (learned !== former) {
    chosen = undefined;
    chances.replaceChildren();
    await (learned === null ? engine.forget() : engine.open(new File([learned.adapter], 'pictures.safetensors')));
  }
}

async function start(): Promise<string> {
  const kinds = new Map<string, HTMLCanvasElement[]>();
  for (const {kind, body} of drawings) {
    kinds.set(kind, [...(kinds.get(kind) ?? []), await pictureOfDrawing(body, SIZE)]);
  }
  example = [...kinds].map(([name, own]) => ({name, samples: own.slice(0, TO_LEARN)}));
  unseen.push(...[...kinds.values()].flatMap(own => own.slice(TO_LEARN)));
  const restored = await kept.read();
  const opened = async ({name, samples: own}: SampleClass<File>) => ({
    name,
    samples: await Promise.all(own.map(file => pictureOfFile(file, SIZE))),
  });
  store.set({
    classes: restored === null ? example : await Promise.all(restored.classes.map(opened)),
    learned: restored?.learned ?? null,
  });
  await engine.start(backend.value);
  await settle({learned: null});
  return hasLearned() ? 'Ready. Your previous adapter is restored.' : 'Ready.';
}

async function useBackend(): Promise<string> {
  await engine.start(backend.value);
  await settle({learned: null});
  return 'Ready.';
}

async function train(): Promise<string> {
  const {classes, trainings} = store.state;
  const method = way.value as Way;
  const {count, right, seconds, parameters, isStopped} = await engine.learn(
    classes.map(own => own.samples),
    method,
    {epochs: epochs.value, copies: copies.value},
  );
  const accuracy = accuracyText(right, count);
  const training = [
    method === 'LoRA' ? 'LoRA' : 'New head only',
    accuracy,
    parameters.toLocaleString('en'),
    seconds.toFixed(1),
  ];
  const learned = {adapter: await engine.file(), names: classes.map(({name}) => name)};
  store.change('training', {learned, trainings: [...trainings, training]});
  return `${isStopped ? 'Stopped' : 'Trained'}. Accuracy on ${count} held-out images: ${accuracy}.`;
}

async function tryIt(picture: HTMLCanvasElement): Promise<string> {
  const likely = await engine.look(picture);
  const {names} = store.state.learned!;
  chosen = picture;
  showChances(chances, names, likely);
  return `Most likely: ${names[likely.indexOf(Math.max(...likely))]}.`;
}

/** Opens an adapter, or tries an image. */
async function open(file: File): Promise<string> {
  if (!file.name.endsWith('.safetensors')) {
    return tryIt(await pictureOfFile(file, SIZE));
  }
  const count = await engine.open(file);
  const names = store.state.classes.map(({name}) => name);
  const numbered = Array.from({length: count}, (_, i) => `Class ${i + 1}`);
  store.change('file opened', {learned: {adapter: file, names: names.length === count ? names : numbered}});
  return `Opened ${file.name}.`;
}

async function forget(): Promise<string> {
  await engine.forget();
  store.change('adapter forgotten', {learned: null});
  return FORGOTTEN;
}

async function saveModel(): Promise<string> {
  await engine.download();
  return 'Downloaded two files. Load them with tf.loadLayersModel.';
}

const tries = oneStop(make('div', {id: 'unseen', className: 'samples', role: 'group', ariaLabel: 'New images'}));
onChange(() =>
  tries.replaceChildren(
    ...unseen.map((picture, i) => {
      const tried = pictureButton(picture, `Try image ${i + 1}`, () => work(() => tryIt(picture)));
      tried.disabled ||= !hasLearned();
      tried.classList.toggle('chosen', picture === chosen);
      return tried;
    }),
  ),
);
backend.addEventListener('change', () => void work(useBackend));

page(
  [
    step(
      'collect',
      'Images',
      note(
        'Add images from files or the webcam, or drop them on a class. Click an image to remove it. Every third image ' +
          'of a class is held out to measure accuracy, and has a dashed border.',
      ),
      store.keptNote,
      ...samples.elements,
      webcam.element,
    ),
    trainStep(
      {
        fields: [labelled('Method', way), epochs.field, copies.field],
        help:
          'The head is the last layer, which decides between the classes. LoRA first trains the head alone, then ' +
          'adapts the layers before it too, for half as many epochs. An epoch is one pass over all images. Varied ' +
          `copies of each image are mirrored, cropped, lighter, or darker. ${INTERVAL_HELP}`,
        missing: () => samples.missing(),
        train: () => work(train),
        stop: () => engine.stop(),
      },
      table('results', {label: 'Trainings', columns: () => TRAININGS, rows: () => store.state.trainings}),
    ),
    step(
      'try',
      'Try new images',
      help('Choose an image that was not used for training.'),
      tries,
      dropZone(
        'an image',
        {accept: 'image/*,.safetensors', more: ' to classify it, or an adapter to open it'},
        ([file]) => work(() => open(file!)),
      ),
      chances,
    ),
    saveStep({
      name: 'pictures',
      adapter: () => store.state.learned?.adapter ?? null,
      forget,
      others: {'save-model': ['Download model', saveModel]},
      about:
        'The adapter is a small file that needs the base model. The model is the whole classifier, two files for ' +
        '<code>tf.loadLayersModel</code>. This browser keeps the adapter, and restores it when you reload the page.',
    }),
  ],
  undoButton,
  labelled('Backend', backend),
);

void work(start);
