import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, loadAdapter, mergeLoRA, saveAdapter, trainableVariables} from 'tfjs-lora';
import {makeDetector, readSound, Recorder, resample, type Sound} from 'tfjs-lora/sound';
import {byId, make, numberIn, percent, sayOutcome, wholeNumberIn} from '../../shared/dom';
import {download} from '../../shared/files';
import {History} from '../../shared/history';
import {Kept} from '../../shared/kept';
import {startWasm} from '../../shared/wasm';
import {RATE} from '../clips';
import {
  adapt,
  chooseDetection,
  classify,
  type Clips,
  type Detection,
  HOP,
  learn,
  SETTINGS,
  type Talk,
  talkFrom,
  type Way,
} from '../learn';
import {encode} from '../model';
import {cardOf} from './card';
import {clipsOf} from './sounds';
import {showConfusion, showScores} from './views';

interface SoundClass {
  name: string;
  clips: Sound[];
}

/** What the browser keeps beside the adapter. */
interface KeptSettings extends Detection {
  names: string[];
}

/** The class that is no word: the room, and other words. */
const BACKGROUND = 'background';
/** Every fifth clip of a class is held out. */
const isHeldOut = (_: unknown, i: number) => i % 5 === 4;
const NEEDED = 5;
/** With few clips, an epoch has few steps: a head alone takes more of them. */
const EPOCHS: Record<Way, number> = {head: 40, lora: 15, full: 15};
/** Seconds of a recording. Of a word, the loudest second is taken. */
const SECONDS = {word: 2, background: 5};
const KEPT = 'indexeddb://sounds';
const KEPT_SETTINGS = 'sounds: names of the classes, threshold, and cool-down';

const statusLine = byId('status');
const progress = byId<HTMLProgressElement>('progress');
const level = byId<HTMLMeterElement>('level');
const way = byId<HTMLSelectElement>('way');
const [epochs, copies] = [byId<HTMLInputElement>('epochs'), byId<HTMLInputElement>('copies')];
const threshold = byId<HTMLInputElement>('threshold');
const coolDown = byId<HTMLInputElement>('cool-down');

const classes: SoundClass[] = [];
const history = new History(byId('undo'));
const keptClasses = new Kept<SoundClass[]>('sounds');
// The root of the mean square: its root again shows quiet sounds too.
const recorder = new Recorder({onLevel: value => (level.value = Math.sqrt(value))});
let changes = 0;
/** The clips to begin with. */
let example: SoundClass[] = [];
let base: tf.LayersModel | undefined;
/** Other words than the visitor's. */
let talk: Talk | undefined;
/** The model that was trained or opened, and the names of its classes. */
let learned: {model: tf.LayersModel; names: readonly string[]} | undefined;
let isBusy = true;
/** While a training can be stopped, and while the page listens. */
let [stopping, listening]: (AbortController | undefined)[] = [];

/** Does something that takes a while, with the controls disabled that would interfere, and says how it ended. */
async function work(doing: () => Promise<string>): Promise<void> {
  const control = focused();
  isBusy = true;
  show();
  await sayOutcome(statusLine, doing);
  isBusy = false;
  show();
  focusAgain(control);
}

/** What selects the control that has the focus. */
function focused(): string | undefined {
  const {id, ariaLabel} = document.activeElement ?? document.body;
  return id ? `#${id}` : ariaLabel ? `[aria-label="${CSS.escape(ariaLabel)}"]` : undefined;
}

/** Gives the focus back to a control that was disabled or made anew. */
function focusAgain(selector: string | undefined): void {
  if (selector !== undefined && document.activeElement === document.body) {
    document.querySelector<HTMLElement>(selector)?.focus();
  }
}

async function start(): Promise<string> {
  example = await Promise.all(
    ['computer', 'banana', BACKGROUND].map(async name => {
      const response = await fetch(`clips/${name}.wav`);
      return {name, clips: clipsOf(await readSound(await response.blob()))};
    }),
  );
  const kept = await keptClasses.read();
  classes.push(...(kept ?? exampleOnes()));
  await startWasm();
  base = await tf.loadLayersModel('base/model.json');
  const others = await fetch('clips/talk.bin');
  talk = talkFrom(new Uint8Array(await others.arrayBuffer()));
  if (!(KEPT in (await tf.io.listModels()))) {
    return 'Ready.';
  }
  const settings = JSON.parse(localStorage.getItem(KEPT_SETTINGS) ?? '{}') as Partial<KeptSettings>;
  const adapter = await loadAdapter(KEPT);
  take(applyLoRA(base, adapter), settings.names);
  adapter.dispose();
  setDetection(settings);
  return 'Ready. Your previous adapter is restored.';
}

function exampleOnes(): SoundClass[] {
  return example.map(({name, clips}) => ({name, clips}));
}

function setDetection({threshold: least = 0.5, coolDown: seconds = 1}: Partial<Detection>): void {
  threshold.valueAsNumber = least;
  coolDown.valueAsNumber = seconds;
}

/** Lets the visitor undo what is about to happen to the classes and clips. */
function remember(what: string): void {
  const former = classes.map(own => ({own, clips: own.clips}));
  history.add(what, () => {
    former.forEach(({own, clips}) => (own.clips = clips));
    classes.splice(0, classes.length, ...former.map(({own}) => own));
    statusLine.textContent = 'Undone.';
    void keep();
  });
}

/** Shows the classes and clips as they are now, and keeps them in this browser. */
async function keep(): Promise<void> {
  show();
  const change = ++changes;
  byId('kept').textContent = 'Saving …';
  const isKept = await keptClasses.write(classes.map(({name, clips}) => ({name, clips})));
  if (change === changes) {
    byId('kept').textContent = isKept
      ? 'This browser keeps your clips.'
      : 'This browser does not keep your clips: they are gone when you reload the page.';
  }
}

/** Replaces the model that listens and is saved. */
function take(model: tf.LayersModel, names: readonly string[] = []): void {
  if (learned !== undefined) {
    disposeModel(learned.model);
  }
  const count = model.outputs[0]!.shape[1]!;
  learned = {model, names: Array.from({length: count}, (_, i) => names[i] ?? `class ${i + 1}`)};
}

/** The held-out clips of all classes, or the others. */
function clipsToUse(heldOut: boolean): Clips {
  const own = classes.map(({clips}) => clips.filter((clip, i) => isHeldOut(clip, i) === heldOut));
  return {clips: own.flat(), labels: own.flatMap((clips, label) => clips.map(() => label))};
}

async function train(): Promise<string> {
  const method = way.value as Way;
  const settings = {epochs: wholeNumberIn(epochs), copies: wholeNumberIn(copies), rate: SETTINGS[method].rate, seed: 1};
  const names = classes.map(({name}) => name);
  const background = names.indexOf(BACKGROUND);
  const [trained, heldOut] = [clipsToUse(false), clipsToUse(true)];
  const noise = trained.clips.filter((_, i) => trained.labels[i] === background);
  const begin = performance.now();
  statusLine.textContent = 'Training …';
  stopping = new AbortController();
  byId<HTMLButtonElement>('stop').disabled = false;
  const {signal} = stopping;
  await tf.nextFrame(); // shows that before the spectrograms are computed
  const model = adapt(base!, names.length, method, settings.seed);
  try {
    await learn(model, trained, {
      ...{way: method, ...settings, talk: talk!, noise, signal},
      onProgress: share => (progress.value = share),
    });
  } catch (error) {
    disposeModel(model);
    throw error;
  } finally {
    stopping = undefined;
    progress.value = 0;
  }
  take(model, names);
  const seconds = (performance.now() - begin) / 1000;
  const guessed = classify(model, heldOut.clips);
  const right = guessed.filter((label, i) => label === heldOut.labels[i]).length / guessed.length;
  const detection = chooseDetection(model, heldOut, names, talk!);
  setDetection(detection);
  await saveAdapter(model, KEPT);
  localStorage.setItem(KEPT_SETTINGS, JSON.stringify({names, ...detection} satisfies KeptSettings));
  const parameters = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
  const cells = [
    {lora: 'LoRA', head: 'New head only', full: 'All weights'}[method],
    percent(right),
    parameters.toLocaleString('en'),
    seconds.toFixed(1),
  ];
  byId('results').hidden = false;
  byId('results')
    .querySelector('tbody')!
    .append(make('tr', {}, ...cells.map(text => make('td', {}, text))));
  showConfusion(names, heldOut.labels, guessed);
  return `${signal.aborted ? 'Stopped' : 'Trained'}. Accuracy on ${guessed.length} held-out clips: ${percent(right)}.`;
}

/** Opens the microphone and shows its level. It stays open until it is closed. */
async function openMicrophone(): Promise<void> {
  await recorder.start();
  byId('microphone').hidden = false;
}

async function record(own: SoundClass): Promise<string> {
  await openMicrophone();
  const seconds = own.name === BACKGROUND ? SECONDS.background : SECONDS.word;
  statusLine.textContent = `Recording ${own.name} for ${seconds} seconds …`;
  const sound = await recorder.record(seconds);
  if (sound.samples.length < seconds * sound.sampleRate) {
    throw new Error('The microphone was closed before the recording ended.');
  }
  return add(own, clipsOf(sound));
}

function add(own: SoundClass, clips: readonly Sound[]): string {
  remember(`${clips.length === 1 ? 'clip' : 'clips'} added to ${own.name}`);
  own.clips = [...own.clips, ...clips];
  void keep();
  return `${own.name} has ${own.clips.length} ${own.clips.length === 1 ? 'clip' : 'clips'}.`;
}

async function addFiles(own: SoundClass, files: readonly File[]): Promise<string> {
  const sounds = await Promise.all(files.map(file => readSound(file, file.name)));
  return add(own, sounds.flatMap(clipsOf)); // prettier-ignore
}

/** Detects words until the visitor ends it or closes the microphone. */
async function listen(): Promise<string> {
  const {model, names} = learned!;
  const detect = makeDetector({threshold: numberIn(threshold), coolDown: numberIn(coolDown)});
  listening = new AbortController();
  const {signal} = listening;
  try {
    await openMicrophone();
    statusLine.textContent = 'Listening …';
    show();
    for await (const window of recorder.windows({seconds: 1, hop: HOP})) {
      if (signal.aborted) {
        break;
      }
      const output = tf.tidy(() => model.predict(encode([resample(window, RATE)])) as tf.Tensor);
      const scores = await output.data();
      output.dispose();
      showScores(names, [...scores]);
      const event = detect({time: window.time, scores: Object.fromEntries(names.map((name, i) => [name, scores[i]!]))});
      if (event !== undefined) {
        const line = make('p', {}, `${event.label}, after ${event.time.toFixed(2)} s`);
        byId('heard').prepend(line);
        [...byId('heard').children].slice(8).forEach(old => old.remove());
      }
    }
  } finally {
    listening = undefined;
  }
  return 'Stopped listening.';
}

async function open(file: File): Promise<string> {
  const adapter = await loadAdapter(new Uint8Array(await file.arrayBuffer()));
  try {
    const model = applyLoRA(base!, adapter);
    const isSame = model.outputs[0]!.shape[1] === classes.length;
    take(model, isSame ? classes.map(({name}) => name) : []);
    return `Opened ${file.name}.`;
  } finally {
    adapter.dispose();
  }
}

/** Shows everything as it is now. */
function show(): void {
  const short = classes.filter(({clips}) => clips.length < NEEDED).map(({name}) => name);
  const missing =
    classes.length < 2
      ? 'Training needs at least one class beside the background.'
      : short.length > 0
        ? `Each class needs at least ${NEEDED} clips. Too few: ${short.join(', ')}.`
        : '';
  const disable = (ids: readonly string[], isDisabled: boolean) =>
    ids.forEach(id => (byId<HTMLButtonElement>(id).disabled = isDisabled));
  disable(['learn'], isBusy || missing !== '');
  byId('missing').textContent = missing;
  disable(['stop'], stopping === undefined);
  disable(['stop-listening'], listening === undefined);
  history.allow(!isBusy);
  disable(['open', 'begin-again', 'way', 'epochs', 'copies', 'threshold', 'cool-down'], isBusy);
  disable(['listen', 'save-adapter', 'save-model', 'save-onnx'], isBusy || learned === undefined);
  const control = focused();
  byId('classes').replaceChildren(...classes.map(showClass));
  focusAgain(control);
}

function showClass(own: SoundClass): HTMLElement {
  const {name, clips} = own;
  const card = cardOf({
    ...{name, clips, isHeldOut},
    record: () => void work(() => record(own)),
    addFiles: files => void work(() => addFiles(own, files)),
    removeClip: index => {
      remember('clip removed');
      own.clips = own.clips.filter((_, i) => i !== index);
      statusLine.textContent = 'Removed. Undo restores it.';
      void keep();
    },
    ...(name !== BACKGROUND && {
      remove: () => {
        remember(`${name} removed`);
        classes.splice(classes.indexOf(own), 1);
        statusLine.textContent = `Removed ${name}. Undo restores it.`;
        void keep();
      },
    }),
  });
  card.querySelectorAll<HTMLButtonElement>('button, input').forEach(control => (control.disabled = isBusy));
  return card;
}

byId('close-microphone').addEventListener('click', () => {
  byId('microphone').hidden = true;
  void recorder.stop();
});
byId('new-class').addEventListener('submit', event => {
  event.preventDefault();
  const field = byId<HTMLInputElement>('class-name');
  const name = field.value.trim();
  if (!isBusy && name !== '' && !classes.some(known => known.name === name)) {
    remember('class added');
    classes.splice(-1, 0, {name, clips: []}); // the background stays the last
    field.value = '';
    void keep();
  }
});
byId('begin-again').addEventListener('click', () => {
  remember('example restored');
  classes.splice(0, classes.length, ...exampleOnes());
  statusLine.textContent = 'The example is restored. Undo restores your clips.';
  void keep();
});
way.addEventListener('change', () => (epochs.valueAsNumber = EPOCHS[way.value as Way]));
byId('stop').addEventListener('click', () => stopping?.abort());
byId('stop-listening').addEventListener('click', () => listening?.abort());
const onClick = (id: string, doing: () => Promise<string>) =>
  byId(id).addEventListener('click', () => void work(doing));
onClick('learn', train);
onClick('listen', listen);
onClick('save-adapter', async () => {
  await saveAdapter(learned!.model, 'downloads://sounds.safetensors');
  return 'Downloaded. Load it with loadAdapter, or open it on this page.';
});
onClick('save-model', async () => {
  const merged = mergeLoRA(learned!.model);
  await merged.save('downloads://sounds');
  disposeModel(merged);
  return 'Downloaded two files. Load them with tf.loadLayersModel.';
});
onClick('save-onnx', async () => {
  const {toONNX} = await import('tfjs-lora/onnx'); // large, and rarely needed
  download({name: 'sounds.onnx', content: new Blob([await toONNX(learned!.model)])});
  return 'Downloaded. ONNX Runtime runs it.';
});
byId<HTMLInputElement>('open').addEventListener('change', event => {
  const [file] = (event.target as HTMLInputElement).files ?? [];
  if (file !== undefined) {
    void work(() => open(file));
  }
});

void work(start);
