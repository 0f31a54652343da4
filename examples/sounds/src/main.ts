import {makeDetector, readSound, Recorder, type Sound} from 'tfjs-lora/sound';
import {make} from '../../shared/dom';
import {download} from '../../shared/files';
import {Kept} from '../../shared/kept';
import {
  button,
  choice,
  dropZone,
  help,
  labelled,
  liveNote,
  note,
  NumberField,
  page,
  row,
  step,
  trainStep,
} from '../../shared/page/controls';
import {fetched} from '../../shared/page/fetched';
import {accuracyText, INTERVAL_HELP} from '../../shared/page/results';
import {type SampleClass, Samples} from '../../shared/page/samples';
import {FORGOTTEN, saveStep} from '../../shared/page/saveStep';
import {Store} from '../../shared/page/store';
import {showChances, table, TRAININGS} from '../../shared/page/tables';
import {isBusy, progress, say, show, undoButton, work} from '../../shared/page/work';
import {type Detection, HOP, type Way} from '../learn';
import {SoundEngine} from './engine';
import {clipsOf, play, waveOf} from './sounds';

type Classes = readonly SampleClass<Sound>[];

/** What was learned, and the names of the classes. */
interface Learned {
  adapter: Blob;
  names: readonly string[];
  detection: Detection;
}

interface State {
  classes: Classes;
  learned: Learned | null;
  /** The rows of the table of trainings. */
  trainings: readonly (readonly string[])[];
  /** Which class the held-out clips of each were taken for, in rows. */
  confusion: {names: readonly string[]; rows: readonly (readonly string[])[]};
}

type KeptState = Pick<State, 'classes' | 'learned'>;

/** The class that is no word: the room, and other words. */
const BACKGROUND = 'background';
/** With few clips, an epoch has few steps: a head alone takes more of them. */
const EPOCHS: Record<Way, number> = {head: 40, lora: 15, full: 15};
const WAYS: Record<Way, string> = {lora: 'LoRA and a new head', head: 'A new head only', full: 'All weights'};
/** Seconds of a recording. Of a word, the loudest second is taken. */
const SECONDS = {word: 2, background: 5};

let example: Classes = [];
/** While the page listens. */
let listening: AbortController | undefined;

const engine = new SoundEngine(share => (progress.value = share));
const kept = new Kept<KeptState>('sound classes');
const store = new Store<State, KeptState>(
  {classes: [], learned: null, trainings: [], confusion: {names: [], rows: []}},
  {
    keep: {in: kept, names: ['classes', 'learned'], of: ({classes, learned}) => ({classes, learned})},
    settle,
  },
);
const level = make('meter', {id: 'level', max: 1, value: 0});
// The root of the mean square: its root again shows quiet sounds too.
const recorder = new Recorder({onLevel: value => (level.value = Math.sqrt(value))});
const microphone = make(
  'div',
  {id: 'microphone', hidden: true},
  make('label', {htmlFor: 'level', className: 'note'}, 'Level'),
  level,
  button('Close microphone', closeMicrophone, {id: 'close-microphone', kind: 'quiet', whileBusy: () => true}),
);
const way = choice('way', WAYS, 'train-help');
const epochs = new NumberField('epochs', 'Epochs', {value: EPOCHS.lora, max: 100, describedBy: 'train-help'});
const copies = new NumberField('copies', 'Varied copies', {value: 5, min: 0, max: 10, describedBy: 'train-help'});
const describedBy = 'detection-help';
const threshold = new NumberField('threshold', 'Threshold', {value: 0.5, min: 0.05, max: 0.9999, step: 0.0001, describedBy}); // prettier-ignore
const coolDown = new NumberField('cool-down', 'Cool-down, s', {value: 1, min: 0, max: 10, step: 0.25, describedBy});
const chances = make('div', {id: 'chances'});
const heard = make('div', {id: 'heard', role: 'log', ariaLabel: 'Detected words'});
const hasLearned = () => store.state.learned !== null;

const samples = new Samples<Sound>({
  ...{things: 'clips', accept: 'audio/*', needed: 5, advised: 10, fixed: BACKGROUND},
  classes: () => store.state.classes,
  change: (what, classes, said) => {
    store.change(what, {classes});
    return said;
  },
  read: async files => {
    const sounds = await Promise.all(files.map(file => readSound(file, file.name)));
    return sounds.flatMap(clipsOf); // prettier-ignore
  },
  record: {label: 'Record', start: async (name, add) => add(clipsOf(await record(name)))},
  restore: () => {
    store.change('example restored', {classes: example});
    return 'The example is restored. Undo restores your classes.';
  },
  draw: (clip, {name, number, isHeldOut, remove}) => {
    const which = `clip ${number} of ${name}${isHeldOut ? ', which is held out' : ''}`;
    const press = (verb: string, onclick: () => void, content: Node | string) =>
      make('button', {type: 'button', ariaLabel: `${verb} ${which}`, title: `${verb} ${which}`, onclick}, content);
    const drawn = make(
      'div',
      {className: 'clip'},
      press('Play', () => void play(clip), waveOf(clip)),
      press('Remove', remove, '×'),
    );
    drawn.classList.toggle('held', isHeldOut);
    return drawn;
  },
});

/** Gives the engine the adapter of the page, and the fields its threshold. */
async function settle({learned: former}: Pick<State, 'learned'>): Promise<void> {
  const {learned} = store.state;
  if (learned !== former) {
    await (learned === null ? engine.forget() : engine.open(new File([learned.adapter], 'sounds.safetensors')));
    setDetection(learned?.detection);
  }
}

function setDetection({threshold: least, coolDown: seconds}: Detection = {threshold: 0.5, coolDown: 1}): void {
  threshold.input.valueAsNumber = least;
  coolDown.input.valueAsNumber = seconds;
  show();
}

async function start(): Promise<string> {
  example = await Promise.all(
    ['computer', 'banana', BACKGROUND].map(async name => {
      const clips = await fetched(`clips/${name}.wav`);
      return {name, samples: clipsOf(await readSound(await clips.blob()))};
    }),
  );
  const restored = await kept.read();
  store.set(restored ?? {classes: example});
  await engine.start();
  await settle({learned: null});
  return hasLearned() ? 'Ready. Your previous adapter is restored.' : 'Ready.';
}

async function train(): Promise<string> {
  const {classes, trainings} = store.state;
  const method = way.value as Way;
  const settings = {epochs: epochs.value, copies: copies.value};
  const {labels, guesses, detection, parameters, seconds, isStopped} = await engine.learn(classes, method, settings);
  const accuracy = accuracyText(guesses.filter((guess, i) => guess === labels[i]).length, labels.length);
  const names = classes.map(({name}) => name);
  const count = (label: number, guess: number) =>
    labels.filter((each, i) => each === label && guesses[i] === guess).length;
  const training = [WAYS[method], accuracy, parameters.toLocaleString('en'), seconds.toFixed(1)];
  store.change('training', {
    learned: {adapter: await engine.file(), names, detection},
    trainings: [...trainings, training],
    confusion: {
      names,
      rows: names.map((name, label) => [name, ...names.map((_, guess) => String(count(label, guess)))]),
    },
  });
  setDetection(detection);
  return `${isStopped ? 'Stopped' : 'Trained'}. Accuracy on ${labels.length} held-out clips: ${accuracy}.`;
}

/** Opens the microphone and shows its level. It stays open until it is closed. */
async function openMicrophone(): Promise<void> {
  await recorder.start();
  microphone.hidden = false;
}

function closeMicrophone(): void {
  microphone.hidden = true;
  void recorder.stop();
}

async function record(name: string): Promise<Sound> {
  await openMicrophone();
  const seconds = name === BACKGROUND ? SECONDS.background : SECONDS.word;
  say(`Recording ${name} for ${seconds} seconds …`);
  const sound = await recorder.record(seconds);
  if (sound.samples.length < seconds * sound.sampleRate) {
    throw new Error('The microphone was closed before the recording ended.');
  }
  return sound;
}

/** Detects words until the visitor ends it or closes the microphone. */
async function listen(): Promise<string> {
  const {names} = store.state.learned!;
  const detect = makeDetector({threshold: threshold.value, coolDown: coolDown.value});
  listening = new AbortController();
  const {signal} = listening;
  try {
    await openMicrophone();
    say('Listening …');
    show();
    for await (const window of recorder.windows({seconds: 1, hop: HOP})) {
      if (signal.aborted) {
        break;
      }
      const scores = await engine.look(window);
      showChances(chances, names, scores);
      const event = detect({time: window.time, scores: Object.fromEntries(names.map((name, i) => [name, scores[i]!]))});
      if (event !== undefined) {
        heard.prepend(make('p', {}, `${event.label}, after ${event.time.toFixed(2)} s`));
        [...heard.children].slice(8).forEach(old => old.remove());
      }
    }
  } finally {
    listening = undefined;
  }
  return 'Stopped listening.';
}

/** Opens an adapter. If it has as many classes as the page, it is assumed to have their names. */
async function open(file: File): Promise<string> {
  const count = await engine.open(file);
  const own = store.state.classes.map(({name}) => name);
  const names = own.length === count ? own : Array.from({length: count}, (_, i) => `class ${i + 1}`);
  const detection = {threshold: threshold.value, coolDown: coolDown.value};
  store.change('file opened', {learned: {adapter: file, names, detection}});
  return `Opened ${file.name}.`;
}

async function forget(): Promise<string> {
  await engine.forget();
  store.change('adapter forgotten', {learned: null});
  return FORGOTTEN;
}

way.addEventListener('change', () => (epochs.input.valueAsNumber = EPOCHS[way.value as Way]));
threshold.input.addEventListener('input', show);

page(
  [
    step(
      'collect',
      'Sounds',
      note(
        'Record clips, or add or drop sound files. A clip lasts one second: the loudest of a recording or short file, ' +
          'and every second of a file longer than two. Background is the noise of your room; the page adds other ' +
          'words to it. Every third clip of a class is held out, and has a dashed border.',
      ),
      store.keptNote,
      microphone,
      ...samples.elements,
    ),
    trainStep(
      {
        fields: [labelled('Method', way), epochs.field, copies.field],
        help:
          'The head is the last layer, which decides between the classes. An epoch is one pass over all clips. Varied ' +
          'copies of each clip are louder or quieter, higher or lower, shifted, mixed with your background, and put ' +
          `between other words. ${INTERVAL_HELP}`,
        missing: () => samples.missing(),
        train: () => work(train),
        stop: () => engine.stop(),
      },
      table('results', {label: 'Trainings', columns: () => TRAININGS, rows: () => store.state.trainings}),
      table('confusion', {
        label: 'Held-out clips: what they are, and what each was taken for',
        columns: () => ['Class', ...store.state.confusion.names],
        rows: () => store.state.confusion.rows,
      }),
    ),
    step(
      'try',
      'Listen',
      row(
        threshold.field,
        coolDown.field,
        button('Listen', () => work(listen), {id: 'listen', when: hasLearned}),
        button('Stop listening', () => listening?.abort(), {
          ...{id: 'stop-listening', whileBusy: () => isBusy() && listening !== undefined},
        }),
      ),
      liveNote(
        'threshold-text',
        () =>
          `A word is detected when the network gives it at least ${Number((100 * threshold.input.valueAsNumber).toFixed(2))} %, ` +
          'and not again within the cool-down.',
      ),
      help(
        'Training sets both by the held-out clips and by three minutes of other words. This small network gives other ' +
          'words high scores too, so the threshold is often near 1. Lower it if the page misses your words, and raise it ' +
          'if it hears words that nobody said.',
        describedBy,
      ),
      chances,
      make('h3', {}, 'Detected'),
      heard,
    ),
    saveStep(
      {
        name: 'sounds',
        adapter: () => store.state.learned?.adapter ?? null,
        forget,
        others: {
          'save-model': [
            'Download model',
            async () => {
              await engine.download();
              return 'Downloaded two files. Load them with tf.loadLayersModel.';
            },
          ],
          'save-onnx': [
            'Download ONNX',
            async () => {
              download({name: 'sounds.onnx', content: await engine.onnx()});
              return 'Downloaded. ONNX Runtime runs it.';
            },
          ],
        },
        about:
          'The adapter is a small file that needs the base model. The model is the whole classifier: two files for ' +
          '<code>tf.loadLayersModel</code>, or one in ONNX. This browser keeps the adapter, and restores it when you ' +
          'reload the page.',
      },
      dropZone('an adapter', {accept: '.safetensors'}, ([file]) => work(() => open(file!))),
    ),
  ],
  undoButton,
);

void work(start);
