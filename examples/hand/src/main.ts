import {make, percent} from '../../shared/dom';
import {download} from '../../shared/files';
import {Kept} from '../../shared/kept';
import {
  button,
  dropZone,
  help,
  liveNote,
  note,
  NumberField,
  page,
  row,
  step,
  trainStep,
} from '../../shared/page/controls';
import {oneStop} from '../../shared/page/oneStop';
import {sizeText} from '../../shared/page/results';
import {FORGOTTEN, saveStep} from '../../shared/page/saveStep';
import {Store} from '../../shared/page/store';
import {history, isBusy, onChange, say, show, showCount, showStep, undoButton, work} from '../../shared/page/work';
import {makeSvg} from '../../shared/svg';
import {remote} from '../../shared/worker';
import {SIDE} from '../looks';
import {PointEditor} from './editor';
import type {HandEngine, News, Sight} from './engine';
import {heldOutOf} from './labelled';
import {show as showPoints} from './points';
import {drawings, type Frame, grounds, Source} from './source';

/** The frames with a hand that training needs, and how many are recommended. */
const [NEEDED, ADVISED] = [5, 10];

/** A frame with its correct landmarks, or with none if it shows no hand. */
interface Labelled {
  picture: HTMLCanvasElement;
  landmarks: readonly number[] | null;
}

/** Everything that the visitor made. The browser keeps only the adapter. */
interface State {
  frames: readonly Labelled[];
  adapter: Blob | null;
}

const canvasFor = (id: string, ariaLabel: string) =>
  make('canvas', {id, width: 448, height: 448, role: 'img', ariaLabel});
const before = canvasFor('before', 'Landmarks before training');
const after = canvasFor('after', 'Landmarks after training');
const frozen = canvasFor('frozen', 'The frozen frame');
const points = makeSvg('svg', {
  ...{id: 'points', viewBox: '0 0 224 224', role: 'group'},
  'aria-label': 'Landmarks of the hand, which you can move',
});
const video = make('video', {
  ...{id: 'video', className: 'hidden', muted: true, playsInline: true, tabIndex: -1, ariaHidden: 'true'},
});
const place = note('', {id: 'place', role: 'status'});
const rate = make('span', {id: 'rate', className: 'note'});
const list = oneStop(make('ul', {id: 'frames', ariaLabel: 'Training frames'}));
const epochs = new NumberField('epochs', 'Epochs', {value: 5, max: 40});

/** The frame that is being corrected, and its index among the training frames, if it is one of them. */
let edited: {frame: Frame; index: number | null} | null = null;
let shown: {frame: Frame; sight: Sight} | null = null;
let seed = 100;

const engine = remote<HandEngine, News>(new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}), showNews);
const kept = new Kept<Blob | null>('hand: adapter');
const source = new Source(video);
const store = new Store<State, Blob | null>(
  {frames: [], adapter: null},
  {keep: {in: kept, names: ['adapter'], of: ({adapter}) => adapter}, settle},
);
const editor = new PointEditor(points, place, former => {
  const frame = edited;
  history.add('landmark moved', () => {
    if (edited === frame) {
      editor.value = former;
    }
  });
});

function showNews(news: News): void {
  if (news.kind === 'copies') {
    showCount('Processing the frames and augmented copies', news, 0.2);
  } else {
    showStep(news, {decimals: 4, from: 0.2});
  }
}

/** Gives the worker the adapter of the page. */
async function settle({adapter: former}: Pick<State, 'adapter'>): Promise<void> {
  const {adapter} = store.state;
  edited = null;
  if (adapter !== former) {
    await (adapter === null ? engine.forget() : engine.open(new File([adapter], 'hand.safetensors')));
  }
}

function pixelsOf(picture: HTMLCanvasElement): ImageData {
  return picture.getContext('2d', {willReadFrequently: true})!.getImageData(0, 0, SIDE, SIDE);
}

let isWatching = false;
let isAsked = false;

/** Finds the landmarks in the current frame, and in the next ones of a video, except during training. */
async function watch(): Promise<void> {
  isAsked = true;
  if (isWatching) {
    return; // it looks once more
  }
  isWatching = true;
  try {
    while (isAsked || (source.isMoving && !isBusy())) {
      isAsked = false;
      const {change} = source;
      const frame = source.frame();
      if (frame !== null && !document.hidden) {
        const begin = performance.now();
        const sight = await engine.look(pixelsOf(frame.picture));
        if (change === source.change) {
          shown = {frame, sight};
          const perSecond = 1000 / (performance.now() - begin);
          rate.textContent = source.isMoving ? `${perSecond.toFixed(perSecond < 10 ? 1 : 0)} frames per second` : '';
          showFrame();
        }
      }
      await new Promise(requestAnimationFrame);
    }
  } finally {
    isWatching = false;
  }
}

function showFrame(): void {
  const picture = shown?.frame.picture ?? null;
  const sight = shown?.sight;
  showPoints(before, picture, sight?.before.landmarks ?? null);
  showPoints(after, picture, sight?.after?.landmarks ?? null);
  freeze.disabled = isBusy() || shown === null;
  beforeText.textContent = `Before training${likelihood(sight?.before.presence)}`;
  afterText.textContent =
    store.state.adapter === null ? 'Not trained yet' : `After training${likelihood(sight?.after?.presence)}`;
}

/** The probability of a hand, as a model predicts it. */
function likelihood(presence: number | undefined): string {
  return presence === undefined ? '' : `, hand: ${Math.round(100 * presence)} %`;
}

function showFrames(): void {
  const {frames} = store.state;
  const isHeld = heldOutOf(frames);
  list.replaceChildren(...frames.map((frame, i) => itemOf(frame, i, isHeld[i]!)));
  // Their colour is known where they are.
  frames.forEach(({picture, landmarks}, i) => showPoints(list.querySelectorAll('canvas')[i]!, picture, landmarks));
  editing.hidden = edited === null;
}

function countFrames(): {hands: number; none: number} {
  const {frames} = store.state;
  const hands = frames.filter(({landmarks}) => landmarks !== null).length;
  return {hands, none: frames.length - hands};
}

function countText(): string {
  const {hands, none} = countFrames();
  return `${hands} ${hands === 1 ? 'frame' : 'frames'} with a hand, ${none} without`;
}

/** What training still needs; empty if nothing. */
function missing(): string {
  return countFrames().hands < NEEDED
    ? `Training needs at least ${NEEDED} frames with a hand (${ADVISED} or more are better).`
    : '';
}

function itemOf({picture, landmarks}: Labelled, index: number, isHeld: boolean): HTMLLIElement {
  const small = Object.assign(document.createElement('canvas'), {width: 112, height: 112, className: 'after'});
  const about = `${landmarks === null ? ', no hand' : ''}${isHeld ? ', held out' : ''}`;
  const label = `Correct frame ${index + 1}${about}`;
  const open = make('button', {className: `frame${isHeld ? ' held' : ''}`, title: label, ariaLabel: label}, small);
  open.addEventListener('click', () => void correct({picture, landmarks}, index));
  const remove = make('button', {className: 'remove', ariaLabel: `Remove frame ${index + 1}`}, '✕');
  remove.addEventListener('click', () => {
    edited = null;
    store.change('frame removed', {frames: store.state.frames.filter((_, i) => i !== index)});
    say('Removed. Undo restores it.');
  });
  [open, remove].forEach(control => (control.disabled = isBusy()));
  return make('li', {}, open, remove);
}

/** Opens a training frame. If it has no landmarks, those that the model finds are the start. */
async function correct({picture, landmarks}: Labelled, index: number): Promise<void> {
  edit({picture, truth: null}, landmarks ?? guessed(await engine.look(pixelsOf(picture))), index);
}

/** The landmarks after training, or before it if there is no adapter. */
function guessed({before, after}: Sight): readonly number[] {
  return (after ?? before).landmarks;
}

function edit(frame: Frame, landmarks: readonly number[], index: number | null): void {
  edited = {frame, index};
  showPoints(frozen, frame.picture, null);
  editor.value = landmarks;
  place.textContent = '';
  show();
}

/** Adds the frame that is being corrected to the training frames, or replaces it there. */
function keepFrame(landmarks: readonly number[] | null): void {
  const {frame, index} = edited!;
  const {frames} = store.state;
  const own = {picture: frame.picture, landmarks};
  edited = null;
  store.change(index === null ? 'frame added' : 'frame corrected', {
    frames: index === null ? [...frames, own] : frames.map((each, i) => (i === index ? own : each)),
  });
  say(`Saved: ${countText()}.`);
  freeze.focus({preventScroll: true});
}

function discard(): void {
  edited = null;
  show();
  freeze.focus({preventScroll: true});
}

async function train(): Promise<string> {
  const frames = store.state.frames.map(({picture, landmarks}) => ({picture: pixelsOf(picture), landmarks}));
  const {hands, grounds: empty, seconds, isStopped, ...size} = await engine.learn(frames, epochs.value);
  store.change('training', {adapter: await engine.file()});
  return (
    `${isStopped ? 'Stopped after' : 'Trained in'} ${seconds.toFixed(0)} s: ${sizeText(size)}. ` +
    `Mean error in ${hands.count} held-out frames: ${percent(hands.before)} of the hand's size before training, ` +
    `${percent(hands.after)} after.` +
    (empty.count === 0
      ? ''
      : ` Frames without a hand in which one is found: ${empty.before} of ${empty.count} before, ${empty.after} after.`)
  );
}

async function forget(): Promise<string> {
  await engine.forget();
  store.change('adapter forgotten', {adapter: null});
  return FORGOTTEN;
}

async function openAdapter(file: File): Promise<string> {
  const size = await engine.open(file);
  store.change('file opened', {adapter: file});
  return `Opened ${file.name}: ${sizeText(size)}.`;
}

async function saveGraph(): Promise<string> {
  const {topology, weights} = await engine.graph();
  download({name: 'hand.json', content: topology}, {name: 'hand.bin', content: weights});
  return 'Downloaded hand.json and hand.bin. Load them with tf.loadGraphModel.';
}

/** The drawings that the page opens with: ten gloves with their landmarks, and five backgrounds. */
function example(): Labelled[] {
  seed++;
  return [...drawings(10, seed), ...grounds(5, seed)].map(({picture, truth}) => ({picture, landmarks: truth}));
}

/** Opens another input. */
function choose(opening: () => Promise<string> | string): Promise<void> {
  return work(async () => {
    shown = null;
    rate.textContent = '';
    return opening();
  });
}

function closeInput(): void {
  source.close();
  shown = null;
  rate.textContent = '';
  show();
}

function freezeFrame(): void {
  const {frame, sight} = shown!;
  edit(frame, guessed(sight), null);
  document.querySelector('#right')!.scrollIntoView({block: 'nearest'});
  points.querySelector<SVGGElement>('.dot')!.focus({preventScroll: true});
}

async function start(): Promise<string> {
  const {parameters} = await engine.start(new URL('model/handlandmark-lite.json', document.baseURI).href);
  const adapter = await kept.read();
  if (adapter !== null) {
    store.set({adapter});
    await settle({adapter: null});
  }
  const again = adapter === null ? '' : ' Your previous adapter is restored.';
  return `Ready: ${(parameters / 1e6).toFixed(1)} million parameters.${again}`;
}

const beforeText = make('span', {id: 'before-text'});
const afterText = make('span', {id: 'after-text'});
const swatch = (when: string) => make('span', {className: `swatch ${when}`});
const freeze = button('Correct this frame', freezeFrame, {id: 'freeze', when: () => shown !== null});
const editing = make(
  'div',
  {id: 'editor', hidden: true},
  make('div', {id: 'stage'}, frozen, points),
  place,
  help('Drag a landmark. Or select one with Tab, and move it with the arrow keys (with Shift, by ten pixels).'),
  row(
    button('Save frame', () => keepFrame(editor.value), {id: 'keep', kind: 'primary'}),
    button('Save as “no hand”', () => keepFrame(null), {id: 'none'}),
    button('Cancel', discard, {id: 'discard', kind: 'quiet', whileBusy: () => true}),
  ),
);
const count = make('h3', {id: 'count'});
onChange(() => {
  count.textContent = countText();
  showFrames();
  showFrame();
  if (!isBusy()) {
    void watch();
  }
});
document.addEventListener('visibilitychange', () => void watch());

store.set({frames: example()});
source.useDrawings(6, ++seed);
page(
  [
    step(
      'right',
      'Training frames',
      editing,
      count,
      help(
        'Click a frame to correct it, or add others from step 3. Those with a dashed border are held out to measure the error.',
      ),
      list,
      row(
        button(
          'Add 15 drawings',
          () => {
            store.change('drawings added', {frames: [...store.state.frames, ...example()]});
            say(`Added: ${countText()}.`);
          },
          {id: 'ten'},
        ),
        button(
          'Remove all',
          () => {
            edited = null;
            store.change('frames removed', {frames: []});
            say('Removed. Undo restores them.');
          },
          {id: 'clear', kind: 'quiet', when: () => store.state.frames.length > 0},
        ),
      ),
      help('Ten drawings of a gloved hand, whose landmarks are known, and five without a hand.'),
    ),
    trainStep(
      {
        fields: [epochs.field],
        help: 'An epoch is one pass over all training frames and augmented copies of them.',
        missing,
        train: () => work(train),
        stop: () => engine.stop(),
      },
      liveNote('advice', () =>
        missing() === '' && countFrames().none === 0
          ? 'Add a few frames without a hand, too. Otherwise the model may see a hand anywhere.'
          : '',
      ),
    ),
    step(
      'watch',
      'Input',
      row(
        button(
          'Use camera',
          () =>
            choose(async () => {
              await source.useCamera();
              return 'Show a hand, and correct a frame where the landmarks are wrong.';
            }),
          {id: 'camera'},
        ),
        button(
          'Use drawings',
          () =>
            choose(() => {
              source.useDrawings(6, ++seed);
              return 'Drawings of a striped glove. “Next image” shows another one.';
            }),
          {id: 'drawn'},
        ),
        button(
          'Next image',
          () => {
            source.next();
            return watch();
          },
          {id: 'next', when: () => source.hasNext},
        ),
        button('Close input', closeInput, {id: 'close', kind: 'quiet', whileBusy: () => source.isOpen}),
      ),
      help('The hand should fill most of the square, with the fingers up.'),
      dropZone(
        'a video or images',
        {accept: 'video/*,image/*,.safetensors', multiple: true, more: ' to watch them, or an adapter to open it'},
        files => {
          const adapter = files.find(({name}) => name.endsWith('.safetensors'));
          return adapter === undefined
            ? choose(async () => {
                await source.useFiles(files);
                return 'Correct a frame where the landmarks are wrong.';
              })
            : work(() => openAdapter(adapter));
        },
      ),
      video,
      make(
        'div',
        {className: 'pair'},
        make('figure', {}, before, make('figcaption', {}, swatch('before'), ' ', beforeText)),
        make('figure', {}, after, make('figcaption', {}, swatch('after'), ' ', afterText)),
      ),
      row(freeze, rate),
      help('Freezes the frame, so that you can move its landmarks and add it to the training frames.'),
    ),
    saveStep({
      name: 'hand',
      adapter: () => store.state.adapter,
      forget,
      others: {'save-graph': ['Download model', saveGraph]},
      about:
        'The adapter is a small file. Drop it on the page to open it again. The model is the whole graph with the ' +
        'adapter merged: two files for <code>tf.loadGraphModel</code>, which replace those of the published model. This ' +
        'browser keeps the adapter, but no frames.',
    }),
  ],
  undoButton,
);
void work(start);
