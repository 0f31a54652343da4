import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, loadAdapter, mergeLoRA, saveAdapter, trainableVariables} from 'tfjs-lora';
import drawings from 'virtual:samples';
import {byId, make, percent, sayOutcome, wholeNumberIn} from '../../shared/dom';
import {History} from '../../shared/history';
import {Kept} from '../../shared/kept';
import {closeWebcam, fileOf, openWebcam, pictureOfFile, pictureOfDrawing, pictureOfVideo} from '../../shared/picture';
import {locateWasm} from '../../shared/wasm';
import {loadBase, SIZE} from './base';
import {accuracyOf, chancesOf, learn, type Pictures, type Way} from './learn';
import {tensorOf} from './tensors';

interface PictureClass {
  name: string;
  pictures: HTMLCanvasElement[];
}

/** A class as the browser keeps it. */
interface KeptClass {
  name: string;
  pictures: File[];
}

/** Every fifth image of a class is held out. */
const isHeldOut = (_: unknown, i: number) => i % 5 === 4;
const NEEDED = 5;
const KEPT = 'indexeddb://pictures';
const KEPT_NAMES = 'pictures: names of the classes';
/** How many drawings of a kind are for training. The others are to try. */
const TO_LEARN = 10;

const statusLine = byId('status');
const progress = byId<HTMLProgressElement>('progress');
const video = byId<HTMLVideoElement>('video');
const backend = byId<HTMLSelectElement>('backend');

const classes: PictureClass[] = [];
const history = new History(byId('undo'));
const keptClasses = new Kept<KeptClass[]>('pictures');
const files = new WeakMap<HTMLCanvasElement, Promise<File>>();
let changes = 0;
/** The drawings by their kinds, to begin with. */
let drawn: PictureClass[] = [];
const unseen: HTMLCanvasElement[] = [];
let base: tf.LayersModel | undefined;
/** The model that was trained or opened, and the names of its classes. */
let learned: {model: tf.LayersModel; names: readonly string[]} | undefined;
let chosen: HTMLCanvasElement | undefined;
let takePicture: ((picture: HTMLCanvasElement) => void) | undefined;
let isBusy = true;
/** While a training can be stopped. */
let stopping: AbortController | undefined;

/** Does something that takes a while, with the controls disabled that would interfere, and says how it ended. */
async function work(doing: () => Promise<string>): Promise<void> {
  isBusy = true;
  show();
  await sayOutcome(statusLine, doing);
  isBusy = false;
  show();
}

async function start(): Promise<string> {
  drawn = await drawAll();
  unseen.push(...drawn.flatMap(({pictures}) => pictures.slice(TO_LEARN)));
  const kept = await keptClasses.read();
  if (kept === null) {
    beginAgain();
  } else {
    classes.push(...(await Promise.all(kept.map(opened))));
  }
  tf.enableProdMode();
  locateWasm();
  return useBackend();
}

async function drawAll(): Promise<PictureClass[]> {
  const kinds = new Map<string, HTMLCanvasElement[]>();
  for (const {kind, body} of drawings) {
    kinds.set(kind, [...(kinds.get(kind) ?? []), await pictureOfDrawing(body, SIZE)]);
  }
  return [...kinds].map(([name, pictures]) => ({name, pictures}));
}

/** Replaces all classes by the drawings. */
function beginAgain(): void {
  const first = drawn.map(({name, pictures}) => ({name, pictures: pictures.slice(0, TO_LEARN)}));
  classes.splice(0, classes.length, ...first);
}

async function opened({name, pictures}: KeptClass): Promise<PictureClass> {
  return {name, pictures: await Promise.all(pictures.map(file => pictureOfFile(file, SIZE)))};
}

/** Lets the visitor undo what is about to happen to the classes and images. */
function remember(what: string): void {
  const former = classes.map(own => ({own, pictures: [...own.pictures]}));
  history.add(what, () => {
    former.forEach(({own, pictures}) => (own.pictures = pictures));
    classes.splice(0, classes.length, ...former.map(({own}) => own));
    statusLine.textContent = 'Undone.';
    void keep();
  });
}

/** Shows the classes and images as they are now, and keeps them in this browser. */
async function keep(): Promise<void> {
  show();
  const change = ++changes;
  byId('kept').textContent = 'Saving …';
  const fileOnce = (picture: HTMLCanvasElement) => {
    const file = files.get(picture) ?? fileOf(picture);
    files.set(picture, file);
    return file;
  };
  const value = await Promise.all(
    classes.map(async ({name, pictures}) => ({name, pictures: await Promise.all(pictures.map(fileOnce))})),
  );
  // If there was another change since, its call keeps all.
  const isKept = change === changes && (await keptClasses.write(value));
  if (change === changes) {
    byId('kept').textContent = isKept
      ? 'This browser keeps your images.'
      : 'This browser does not keep your images: they are gone when you reload the page.';
  }
}

/** Starts a backend, and loads the base model and the kept adapter, if there is one. */
async function useBackend(): Promise<string> {
  statusLine.textContent = 'Loading the base model …';
  if (base !== undefined) {
    disposeModel(base);
  }
  take(undefined);
  if (!(await tf.setBackend(backend.value))) {
    throw new Error(`This browser could not start the ${backend.value} backend.`);
  }
  base = await loadBase();
  if (!(KEPT in (await tf.io.listModels()))) {
    return 'Ready.';
  }
  const adapter = await loadAdapter(KEPT);
  take(applyLoRA(base, adapter), JSON.parse(localStorage.getItem(KEPT_NAMES) ?? '[]') as string[]);
  adapter.dispose();
  return 'Ready. Your previous adapter is restored.';
}

/** Replaces the model that is tried and saved. */
function take(model: tf.LayersModel | undefined, names: readonly string[] = []): void {
  if (learned !== undefined) {
    disposeModel(learned.model);
  }
  learned = model && {model, names};
}

/** The held-out images of all classes, or the others, with their labels. */
function picturesOf(heldOut: boolean): Pictures {
  const own = classes.map(({pictures}) => pictures.filter((picture, i) => isHeldOut(picture, i) === heldOut));
  return tf.tidy(() => {
    const labels = tf.tensor1d(own.flatMap((pictures, label) => pictures.map(() => label)), 'int32'); // prettier-ignore
    return {
      images: tensorOf(own.flat()),
      labels: tf.cast(tf.oneHot(labels, classes.length), 'float32') as tf.Tensor2D,
    };
  });
}

async function train(): Promise<string> {
  const way = byId<HTMLSelectElement>('way').value as Way;
  const [epochs, copies] = ['epochs', 'copies'].map(id => wholeNumberIn(byId<HTMLInputElement>(id))) as [
    number,
    number,
  ];
  const names = classes.map(({name}) => name);
  const [trained, heldOut] = [picturesOf(false), picturesOf(true)];
  const begin = performance.now();
  statusLine.textContent = 'Training …';
  stopping = new AbortController();
  byId<HTMLButtonElement>('stop').disabled = false;
  const {signal} = stopping;
  try {
    const model = await learn(base!, trained, way, {
      epochs,
      copies,
      signal,
      onProgress: share => (progress.value = share),
    }).catch((error: unknown) => {
      if (signal.aborted) {
        return null;
      }
      throw error;
    });
    if (model === null) {
      return 'Stopped before the first step. Nothing has changed.';
    }
    take(model, names);
    const seconds = (performance.now() - begin) / 1000;
    const right = await accuracyOf(model, heldOut);
    await saveAdapter(model, KEPT);
    localStorage.setItem(KEPT_NAMES, JSON.stringify(names));
    const parameters = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
    const cells = [
      way === 'LoRA' ? 'LoRA' : 'New head only',
      percent(right),
      parameters.toLocaleString('en'),
      seconds.toFixed(1),
    ];
    byId('results').hidden = false;
    byId('results')
      .querySelector('tbody')!
      .append(make('tr', {}, ...cells.map(text => make('td', {}, text))));
    const began = signal.aborted ? 'Stopped' : 'Trained';
    return `${began}. Accuracy on ${heldOut.labels.shape[0]} held-out images: ${percent(right)}.`;
  } finally {
    stopping = undefined;
    tf.dispose([trained, heldOut] as unknown as tf.TensorContainer);
    progress.value = 0;
  }
}

async function tryIt(picture: HTMLCanvasElement): Promise<string> {
  statusLine.textContent = 'Classifying …';
  chosen = picture;
  const {model, names} = learned!;
  const images = tensorOf([picture]);
  const [chances] = await chancesOf(model, images);
  images.dispose();
  byId('chances').replaceChildren(
    ...chances!.map((chance, i) =>
      make(
        'div',
        {className: 'chance'},
        make('span', {}, names[i] ?? `Class ${i + 1}`),
        make('span', {}, percent(chance)),
        make('meter', {value: chance, ariaLabel: names[i] ?? `Class ${i + 1}`}),
      ),
    ),
  );
  const best = chances!.indexOf(Math.max(...chances!));
  return `Most likely: ${names[best] ?? `class ${best + 1}`}.`;
}

async function open(file: File): Promise<string> {
  const adapter = await loadAdapter(new Uint8Array(await file.arrayBuffer()));
  try {
    const model = applyLoRA(base!, adapter);
    const names = classes.map(({name}) => name);
    take(model, names.length === model.outputs[0]!.shape[1] ? names : []);
    return `Opened ${file.name}.`;
  } finally {
    adapter.dispose();
  }
}

/** Shows everything as it is now. */
function show(): void {
  const short = classes.filter(({pictures}) => pictures.length < NEEDED).map(({name}) => name);
  const missing =
    classes.length < 2
      ? 'Training needs at least two classes.'
      : short.length > 0
        ? `Each class needs at least ${NEEDED} images. Too few: ${short.join(', ')}.`
        : '';
  byId<HTMLButtonElement>('learn').disabled = isBusy || missing !== '';
  byId('missing').textContent = missing;
  byId<HTMLButtonElement>('stop').disabled = stopping === undefined;
  history.allow(!isBusy);
  ['backend', 'open', 'begin-again'].forEach(id => (byId<HTMLInputElement>(id).disabled = isBusy));
  ['save-adapter', 'save-model', 'try-file', 'try-camera'].forEach(
    id => (byId<HTMLButtonElement>(id).disabled = isBusy || learned === undefined),
  );
  byId('classes').replaceChildren(...classes.map(cardOf));
  byId('unseen').replaceChildren(
    ...unseen.map((picture, i) => {
      const button = pictureButton(picture, `Try image ${i + 1}`, () => void work(() => tryIt(picture)));
      button.disabled = isBusy || learned === undefined;
      button.classList.toggle('chosen', picture === chosen);
      return button;
    }),
  );
}

function cardOf(own: PictureClass): HTMLElement {
  const {name, pictures} = own;
  const add = (...more: HTMLCanvasElement[]) => {
    remember(`${more.length === 1 ? 'image' : 'images'} added to ${name}`);
    own.pictures = [...own.pictures, ...more];
    void keep();
  };
  const addFiles = async (files: Iterable<File>) => {
    add(...(await Promise.all([...files].map(file => pictureOfFile(file, SIZE)))));
    return `${name} has ${own.pictures.length} images.`;
  };
  const files = make('input', {type: 'file', accept: 'image/*', multiple: true, ariaLabel: `Files for ${name}`});
  files.addEventListener('change', () => void work(() => addFiles(files.files ?? [])));
  const card = make(
    'section',
    {className: 'class'},
    make(
      'header',
      {},
      make('h3', {}, `${name} (${pictures.length})`),
      make('button', {type: 'button', textContent: 'Webcam', onclick: () => void work(() => useCamera(add))}),
      make('button', {
        ...{type: 'button', className: 'quiet', textContent: 'Remove'},
        onclick: () => {
          remember(`${name} removed`);
          classes.splice(classes.indexOf(own), 1);
          statusLine.textContent = `Removed ${name}. Undo restores it.`;
          void keep();
        },
      }),
    ),
    files,
    make(
      'div',
      {className: 'pictures'},
      ...pictures.map((picture, i) => {
        const isHeld = isHeldOut(picture, i);
        const label = `Remove image ${i + 1} of ${name}${isHeld ? ', which is held out' : ''}`;
        const button = pictureButton(picture, label, () => {
          remember('image removed');
          own.pictures = own.pictures.filter((_, other) => other !== i);
          statusLine.textContent = 'Removed. Undo restores it.';
          void keep();
        });
        button.classList.toggle('held', isHeld);
        return button;
      }),
    ),
  );
  card.querySelectorAll<HTMLButtonElement>('button, input').forEach(control => (control.disabled = isBusy));
  card.addEventListener('dragover', event => event.preventDefault());
  card.addEventListener('drop', event => {
    event.preventDefault();
    if (!isBusy) {
      void work(() => addFiles(event.dataTransfer?.files ?? []));
    }
  });
  return card;
}

function pictureButton(picture: HTMLCanvasElement, label: string, onclick: () => void): HTMLButtonElement {
  return make('button', {type: 'button', title: label, ariaLabel: label, onclick}, picture);
}

async function useCamera(then: (picture: HTMLCanvasElement) => void): Promise<string> {
  takePicture = then;
  byId('camera').hidden = false;
  try {
    await openWebcam(video);
  } catch (error) {
    byId('camera').hidden = true;
    throw new Error(`The webcam cannot be used: ${(error as Error).message}`, {cause: error});
  }
  return 'Hold something up, and take photos of it from several sides.';
}

byId('take').addEventListener('click', () => takePicture?.(pictureOfVideo(video, SIZE)));
byId('close-camera').addEventListener('click', () => {
  closeWebcam(video);
  byId('camera').hidden = true;
});
byId('new-class').addEventListener('submit', event => {
  event.preventDefault();
  const field = byId<HTMLInputElement>('class-name');
  const name = field.value.trim();
  if (name !== '' && !classes.some(known => known.name === name)) {
    remember('class added');
    classes.push({name, pictures: []});
    field.value = '';
    void keep();
  }
});
byId('begin-again').addEventListener('click', () => {
  remember('example restored');
  beginAgain();
  statusLine.textContent = 'The example is restored. Undo restores your images.';
  void keep();
});
byId('stop').addEventListener('click', () => stopping?.abort());
byId('learn').addEventListener('click', () => void work(train));
backend.addEventListener('change', () => void work(useBackend));
byId('try-camera').addEventListener(
  'click',
  () => void work(() => useCamera(picture => void work(() => tryIt(picture)))),
);
const onFile = (id: string, doing: (file: File) => Promise<string>) =>
  byId<HTMLInputElement>(id).addEventListener('change', event => {
    const [file] = (event.target as HTMLInputElement).files ?? [];
    if (file !== undefined) {
      void work(() => doing(file));
    }
  });
onFile('try-file', async file => tryIt(await pictureOfFile(file, SIZE)));
onFile('open', open);
byId('save-adapter').addEventListener(
  'click',
  () =>
    void work(async () => {
      await saveAdapter(learned!.model, 'downloads://pictures.safetensors');
      return 'Downloaded. Load it with loadAdapter, or open it on this page.';
    }),
);
byId('save-model').addEventListener(
  'click',
  () =>
    void work(async () => {
      const merged = mergeLoRA(learned!.model);
      await merged.save('downloads://pictures');
      disposeModel(merged);
      return 'Downloaded two files. Load them with tf.loadLayersModel.';
    }),
);

void work(start);
