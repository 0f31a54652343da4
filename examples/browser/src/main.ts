import {make} from '../../shared/dom';
import {download} from '../../shared/files';
import {Kept} from '../../shared/kept';
import {
  button,
  choice,
  dropZone,
  help,
  labelled,
  note,
  NumberField,
  page,
  row,
  step,
  trainStep,
} from '../../shared/page/controls';
import {accuracyText, INTERVAL_HELP} from '../../shared/page/results';
import {type SampleClass, Samples} from '../../shared/page/samples';
import {FORGOTTEN, saveStep} from '../../shared/page/saveStep';
import {Store} from '../../shared/page/store';
import {showChances, table} from '../../shared/page/tables';
import {isBusy, onChange, showStep, undoButton, work} from '../../shared/page/work';
import {Plot, type Point} from '../../shared/plot';
import {remote} from '../../shared/worker';
import type {Backend, DigitEngine, News} from './engine';
import {HELD_OUT, KNOWN_DIGITS, NEW_DIGITS, PIXELS, SIDE, TRAINING} from './format';
import {pictureOf} from './image';
import {Pad} from './pad';

type Classes = readonly SampleClass<Uint8Array>[];

/** What was learned, and the names of the classes. */
interface Learned {
  adapter: Blob;
  names: readonly string[];
}

interface State {
  classes: Classes;
  learned: Learned | null;
  backend: Backend;
  /** The losses of the training that the adapter comes from. */
  losses: readonly Point[];
  /** The rows of the table of trainings. */
  trainings: readonly (readonly string[])[];
}

type KeptState = Pick<State, 'classes' | 'learned' | 'backend'>;

/** How many images of a digit are in its class. The held-out ones of the file are to try. */
const EXAMPLE = 45;
/** For a model this small, wasm is the best default, because it needs no warm-up. */
const PREFERRED: readonly Backend[] = ['wasm', 'webgl', 'webgpu', 'cpu'];
const MODEL = new URL('model/model.json', location.href).href;

/** Images of each new digit, in the order of the file. */
let digits: Uint8Array[][] = [];
let losses: Point[] = [];
let tried = 0;

const engine = remote<DigitEngine, News>(new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}), news => {
  showStep(news);
  losses = [...losses, {x: news.step, y: news.loss}];
  showLosses(losses);
});
const kept = new Kept<KeptState>('digit classes');
const store = new Store<State, KeptState>(
  {classes: [], learned: null, backend: 'wasm', losses: [], trainings: []},
  {
    keep: {
      ...{in: kept, names: ['classes', 'learned', 'backend']},
      of: ({classes, learned, backend}) => ({classes, learned, backend}),
    },
    settle,
  },
);
const backendChoice = choice('backend', {webgpu: 'webgpu', webgl: 'webgl', wasm: 'wasm', cpu: 'cpu'});
const epochs = new NumberField('epochs', 'Epochs', {value: 10, max: 100, describedBy: 'train-help'});
const rate = new NumberField('rate', 'Learning rate', {
  ...{value: 0.008, min: 0.00001, max: 1, step: 0.00001},
  describedBy: 'train-help',
});
const lossPlace = make('div', {id: 'loss', className: 'chart'});
const ratesPlace = make('div', {id: 'rates', className: 'chart'});
const lossPlot = new Plot(lossPlace, {title: 'Loss after each step', xLabel: 'step'});
const ratesPlot = new Plot(ratesPlace, {
  ...{title: 'Loss at each learning rate', xLabel: 'learning rate'},
  xText: exponent => `1e${exponent}`,
});
const rates = make('figure', {hidden: true}, make('figcaption', {}, 'Loss at each learning rate'), ratesPlace);
const canvas = make('canvas', {
  ...{id: 'pad', width: 280, height: 280, role: 'img'},
  ariaLabel: 'Drawing area: draw a symbol with mouse, pen, or finger',
});
const pad = new Pad(canvas, () => {
  tryNote.textContent = '';
  void look();
});
const tryNote = make('p', {id: 'try-note', className: 'note', role: 'status'});
const strength = make('input', {id: 'strength', type: 'range', min: '0', max: '1.5', step: '0.05', value: '1'});
const ofBase = make('div', {id: 'base'});
const ofAdapted = make('div', {id: 'adapted'});
const hasLearned = () => store.state.learned !== null;

const samples = new Samples<Uint8Array>({
  ...{things: 'images', needed: 3, advised: 20},
  classes: () => store.state.classes,
  change: (what, classes, said) => {
    store.change(what, {classes});
    return said;
  },
  record: {
    label: 'Add drawing',
    start: async (_, add) => {
      const {image} = pad;
      if (image === null) {
        throw new Error('Draw a symbol first.');
      }
      const said = await add([image]);
      pad.clear();
      return said;
    },
  },
  restore: () => {
    store.change('example restored', {classes: example()});
    return 'The example is restored. Undo restores your classes.';
  },
  clear: () => {
    store.change('classes removed', {classes: []});
    return Promise.resolve('All classes are removed. Undo restores them.');
  },
  draw: (image, {name, number, isHeldOut, remove}) => {
    const label = `Remove image ${number} of ${name}${isHeldOut ? ', which is held out' : ''}`;
    const small = make('canvas', {width: SIDE, height: SIDE});
    small.getContext('2d')!.putImageData(pictureOf(image), 0, 0);
    const className = isHeldOut ? 'held' : '';
    return make('button', {type: 'button', className, title: label, ariaLabel: label, onclick: remove}, small);
  },
});

function example(): Classes {
  return digits.map((images, i) => ({name: String(NEW_DIGITS[i]), samples: images.slice(0, EXAMPLE)}));
}

function imagesOfClasses(): (readonly Uint8Array[])[] {
  return store.state.classes.map(own => own.samples);
}

async function loadDigits(): Promise<Uint8Array[][]> {
  const {body} = await fetch('samples.bin');
  const unpacked = new Response(body!.pipeThrough(new DecompressionStream('deflate')));
  const bytes = new Uint8Array(await unpacked.arrayBuffer());
  const each = TRAINING + HELD_OUT;
  const image = (digit: number, i: number) => bytes.slice((digit * each + i) * PIXELS, (digit * each + i + 1) * PIXELS);
  return NEW_DIGITS.map((_, digit) => Array.from({length: each}, (_, i) => image(digit, i)));
}

/** Gives the engine the adapter of the page. */
async function settle({learned: former}: Pick<State, 'learned'>): Promise<void> {
  const {learned} = store.state;
  if (learned !== former) {
    await (learned === null ? engine.forget() : engine.open(new File([learned.adapter], 'digits.safetensors')));
  }
}

async function start(): Promise<string> {
  digits = await loadDigits();
  const [restored, backends] = [await kept.read(), await engine.backends()];
  [...backendChoice.options]
    .filter(({value}) => !backends.includes(value as Backend))
    .forEach(option => option.remove());
  const wished = restored === null ? PREFERRED : [restored.backend, ...PREFERRED];
  const backend = wished.find(name => backends.includes(name))!;
  backendChoice.value = backend;
  store.set({classes: restored?.classes ?? example(), learned: restored?.learned ?? null, backend});
  await engine.start(MODEL, backend);
  await settle({learned: null});
  tryNew();
  return hasLearned() ? 'Ready. Your previous adapter is restored.' : 'Ready.';
}

async function useBackend(): Promise<string> {
  const backend = backendChoice.value as Backend;
  await engine.start(MODEL, backend);
  store.set({backend});
  await settle({learned: null});
  return 'Ready.';
}

async function train(): Promise<string> {
  const {classes, trainings} = store.state;
  [losses, rates.hidden] = [[], true];
  const {count, right, seconds, parameters, isStopped} = await engine.learn(imagesOfClasses(), {
    ...{epochs: epochs.value, rate: rate.value},
  });
  const accuracy = accuracyText(right, count);
  const learned = {adapter: await engine.file(), names: classes.map(({name}) => name)};
  const training = [String(rate.value), accuracy, parameters.toLocaleString('en'), seconds.toFixed(1)];
  store.change('training', {learned, losses, trainings: [...trainings, training]});
  return `${isStopped ? 'Stopped' : 'Trained'}. Accuracy on ${count} held-out images: ${accuracy}.`;
}

async function findRate(): Promise<string> {
  const {curve, suggestion} = await engine.tryRates(imagesOfClasses());
  rates.hidden = false;
  ratesPlot.show([{name: 'loss', points: curve}]);
  if (suggestion === undefined) {
    return 'The loss falls at none of the rates by more than its noise.';
  }
  rate.input.valueAsNumber = Number(suggestion.toPrecision(2));
  return `The loss falls fastest at ${rate.value}, which is now the learning rate.`;
}

/** Puts an image on the pad that nobody trains on, another one each time. */
function tryNew(): void {
  const digit = tried % NEW_DIGITS.length;
  pad.show(digits[digit]![TRAINING + (Math.floor(tried / NEW_DIGITS.length) % HELD_OUT)]!);
  tried++;
  tryNote.textContent = `This ${NEW_DIGITS[digit]} is not used for training.`;
}

let isLooking = false;
let hasChanged = false;

/** Shows what both models see in the drawing, soon: the pad has news more often than they answer. */
async function look(): Promise<void> {
  hasChanged = true;
  if (isLooking || isBusy()) {
    return;
  }
  isLooking = true;
  while (hasChanged && !isBusy()) {
    hasChanged = false;
    const {image} = pad;
    const names = store.state.learned?.names ?? store.state.classes.map(({name}) => name);
    const seen = image === null ? null : await engine.look(image, strength.valueAsNumber);
    showChances(ofBase, KNOWN_DIGITS.map(String), seen?.base ?? KNOWN_DIGITS.map(() => 0));
    showChances(ofAdapted, names, seen?.adapted ?? names.map(() => 0));
  }
  isLooking = false;
}

/** Opens an adapter. If it has as many classes as the page, it is assumed to have their names. */
async function open(file: File): Promise<string> {
  const count = await engine.open(file);
  const own = store.state.classes.map(({name}) => name);
  const names = own.length === count ? own : Array.from({length: count}, (_, i) => `symbol ${i + 1}`);
  store.change('file opened', {learned: {adapter: file, names}});
  return `Opened ${file.name}.`;
}

async function forget(): Promise<string> {
  await engine.forget();
  store.change('adapter forgotten', {learned: null, losses: []});
  return FORGOTTEN;
}

function showLosses(points: readonly Point[]): void {
  lossPlot.show(points.length === 0 ? [] : [{name: 'loss', points}]);
}

onChange(() => showLosses(isBusy() ? losses : store.state.losses));
onChange(() => void look());
backendChoice.addEventListener('change', () => void work(useBackend));
strength.addEventListener('input', () => void look());

page(
  [
    step(
      'collect',
      'Symbols',
      note(
        'Draw a symbol and add it to a class, or make a class for it. Click an image to remove it. Every third image of ' +
          'a class is held out to measure accuracy, and has a dashed border.',
      ),
      make(
        'div',
        {className: 'drawing'},
        canvas,
        make(
          'div',
          {},
          row(
            button('Clear', () => pad.clear(), {id: 'clear-pad'}),
            button('Try a new digit', tryNew, {id: 'unseen'}),
          ),
          tryNote,
        ),
      ),
      store.keptNote,
      ...samples.elements,
    ),
    trainStep(
      {
        fields: [epochs.field, rate.field],
        help:
          'An epoch is one pass over all images. The learning rate says how far each step changes the adapter. ' +
          `<em>Find a rate</em> tries a hundred rates and sets the field. ${INTERVAL_HELP}`,
        missing: () => samples.missing(),
        train: () => work(train),
        stop: () => engine.stop(),
      },
      row(button('Find a rate', () => work(findRate), {id: 'find-rate', when: () => samples.missing() === ''})),
      table('results', {
        label: 'Trainings',
        columns: () => ['Learning rate', 'Held-out accuracy', 'Parameters', 'Seconds'],
        rows: () => store.state.trainings,
      }),
      make('figure', {}, make('figcaption', {}, 'Loss after each step'), lossPlace),
      rates,
    ),
    step(
      'try',
      'What both models see',
      help('The base knows 0–4 only. Strength scales the adapter in all layers but the last.'),
      labelled('Strength', strength),
      make(
        'div',
        {className: 'columns'},
        make('div', {}, make('h3', {}, 'Base model'), ofBase),
        make('div', {}, make('h3', {}, 'Adapted model'), ofAdapted),
      ),
    ),
    saveStep(
      {
        name: 'digits',
        adapter: () => store.state.learned?.adapter ?? null,
        forget,
        others: {
          'save-model': [
            'Download model',
            async () => {
              download(...(await engine.merged(strength.valueAsNumber)));
              return 'Downloaded two files. Load them with tf.loadLayersModel.';
            },
          ],
        },
        about:
          'The adapter is a small file that needs the base model. The model has the adapter merged at this strength: two ' +
          'files for <code>tf.loadLayersModel</code>. This browser keeps classes and adapter, and restores them when ' +
          'you reload the page.',
      },
      dropZone('an adapter', {accept: '.safetensors'}, ([file]) => work(() => open(file!))),
    ),
  ],
  undoButton,
  labelled('Backend', backendChoice),
);

void work(start);
