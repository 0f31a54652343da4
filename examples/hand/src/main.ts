import {byId, make, percent, sayOutcome, wholeNumberIn} from '../../shared/dom';
import {download, onFiles} from '../../shared/files';
import {History} from '../../shared/history';
import {Kept} from '../../shared/kept';
import {TimeLeft} from '../../shared/timeLeft';
import {Remote} from '../../shared/worker';
import {SIDE} from '../looks';
import {PointEditor} from './editor';
import {show} from './points';
import {type Engine, heldOutOf, type News, type Sight, type Size} from './protocol';
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

const [statusLine, progress] = [byId('status'), byId<HTMLProgressElement>('progress')];
const [before, after, frozen] = (['before', 'after', 'frozen'] as const).map(id => byId<HTMLCanvasElement>(id)) as [
  HTMLCanvasElement,
  HTMLCanvasElement,
  HTMLCanvasElement,
];

let state: State = {frames: [], adapter: null};
/** The frame that is being corrected, and its index among the training frames, if it is one of them. */
let edited: {frame: Frame; index: number | null} | null = null;
let shown: {frame: Frame; sight: Sight} | null = null;
let busy = true;
let isTraining = false;
let seed = 100;
const left = new TimeLeft();

const engine = new Remote<Engine, News>(new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}), showNews);
const history = new History(byId('undo'));
const kept = new Kept<Blob | null>('hand: adapter');
const source = new Source(byId<HTMLVideoElement>('video'));
const editor = new PointEditor(byId<SVGSVGElement>('points'), byId('place'), former => {
  const frame = edited;
  history.add('landmark moved', () => {
    if (edited === frame) {
      editor.value = former;
    }
  });
});

function showNews(news: News): void {
  if (news.kind === 'copies') {
    progress.value = (0.2 * news.done) / news.total;
    statusLine.textContent = `Processing the frames and augmented copies: ${news.done} of ${news.total}`;
  } else {
    progress.value = 0.2 + (0.8 * news.step) / news.steps;
    statusLine.textContent =
      `Step ${news.step} of ${news.steps}, loss ${news.loss.toFixed(4)}` + left.text(news.step, news.steps);
  }
}

/** Does something in the worker, with the controls disabled that would interfere. */
async function work(doing: () => Promise<string>): Promise<void> {
  busy = true;
  showState();
  await sayOutcome(statusLine, doing);
  busy = false;
  progress.value = 0;
  showState();
  void watch();
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
    while (isAsked || (source.isMoving && !busy)) {
      isAsked = false;
      const {change} = source;
      const frame = source.frame();
      if (frame !== null && !document.hidden) {
        const begin = performance.now();
        const sight = await engine.call('look', pixelsOf(frame.picture));
        if (change === source.change) {
          shown = {frame, sight};
          const rate = 1000 / (performance.now() - begin);
          byId('rate').textContent = source.isMoving ? `${rate.toFixed(rate < 10 ? 1 : 0)} frames per second` : '';
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
  show(before, picture, sight?.before.landmarks ?? null);
  show(after, picture, sight?.after?.landmarks ?? null);
  byId('before-text').textContent = `Before training${likelihood(sight?.before.presence)}`;
  byId('after-text').textContent =
    state.adapter === null ? 'Not trained yet' : `After training${likelihood(sight?.after?.presence)}`;
  byId<HTMLButtonElement>('freeze').disabled = busy || shown === null;
}

/** The probability of a hand, as a model predicts it. */
function likelihood(presence: number | undefined): string {
  return presence === undefined ? '' : `, hand: ${Math.round(100 * presence)} %`;
}

function showState(): void {
  const {frames, adapter} = state;
  const hands = frames.filter(({landmarks}) => landmarks !== null).length;
  const none = frames.length - hands;
  const enabled: Record<string, boolean> = {
    camera: !busy,
    drawn: !busy,
    files: !busy,
    next: !busy && source.hasNext,
    close: source.isOpen,
    keep: !busy,
    ten: !busy,
    clear: !busy && frames.length > 0,
    none: !busy,
    learn: !busy && hands >= NEEDED,
    stop: isTraining,
    save: !busy && adapter !== null,
    'save-graph': !busy && adapter !== null,
    forget: !busy && adapter !== null,
  };
  for (const [id, isEnabled] of Object.entries(enabled)) {
    byId<HTMLButtonElement>(id).disabled = !isEnabled;
  }
  history.allow(!busy);
  byId('missing').textContent = missingText(hands, none);
  byId('count').textContent = `${hands} ${hands === 1 ? 'frame' : 'frames'} with a hand, ${none} without`;
  const isHeld = heldOutOf(frames);
  byId('frames').replaceChildren(...frames.map((frame, i) => itemOf(frame, i, isHeld[i]!)));
  // Their colour is known where they are.
  frames.forEach(({picture, landmarks}, i) => show(byId('frames').querySelectorAll('canvas')[i]!, picture, landmarks));
  byId('editor').hidden = edited === null;
  showFrame();
}

/** What training still needs, or what would improve it. */
function missingText(hands: number, none: number): string {
  if (hands < NEEDED) {
    return `Training needs at least ${NEEDED} frames with a hand (${ADVISED} or more are better).`;
  }
  return none === 0 ? 'Add a few frames without a hand, too. Otherwise the model may see a hand anywhere.' : '';
}

function itemOf({picture, landmarks}: Labelled, index: number, isHeld: boolean): HTMLLIElement {
  const small = Object.assign(document.createElement('canvas'), {width: 112, height: 112, className: 'after'});
  const about = `${landmarks === null ? ', no hand' : ''}${isHeld ? ', held out' : ''}`;
  const label = `Correct frame ${index + 1}${about}`;
  const open = make('button', {className: `frame${isHeld ? ' held' : ''}`, title: label, ariaLabel: label}, small);
  open.addEventListener('click', () => void correct({picture, landmarks}, index));
  const remove = make('button', {className: 'remove', ariaLabel: `Remove frame ${index + 1}`}, '✕');
  remove.addEventListener('click', () => {
    step('frame removed', {frames: state.frames.filter((_, i) => i !== index)});
    letGo();
    statusLine.textContent = 'Removed. Undo restores it.';
  });
  [open, remove].forEach(button => (button.disabled = busy));
  return make('li', {}, open, remove);
}

/** Changes the state. The browser keeps the adapter. */
function become(next: State): void {
  if (next.adapter !== state.adapter) {
    void kept.write(next.adapter);
  }
  state = next;
}

/** Changes the frames, and lets the visitor undo that. */
function step(what: string, next: Partial<State>): void {
  const {frames} = state;
  history.add(what, () => {
    letGo();
    become({...state, frames});
    showState();
  });
  become({...state, ...next});
  showState();
}

/** Opens a training frame. If it has no landmarks, those that the model finds are the start. */
async function correct({picture, landmarks}: Labelled, index: number): Promise<void> {
  edit({picture, truth: null}, landmarks ?? guessed(await engine.call('look', pixelsOf(picture))), index);
}

/** The landmarks after training, or before it if there is no adapter. */
function guessed({before, after}: Sight): readonly number[] {
  return (after ?? before).landmarks;
}

function edit(frame: Frame, landmarks: readonly number[], index: number | null): void {
  edited = {frame, index};
  show(frozen, frame.picture, null);
  editor.value = landmarks;
  byId('place').textContent = '';
  showState();
}

/** Adds the frame that is being corrected to the training frames, or replaces it there. */
function keep(landmarks: readonly number[] | null): void {
  const {frame, index} = edited!;
  const own = {picture: frame.picture, landmarks};
  const frames = index === null ? [...state.frames, own] : state.frames.map((each, i) => (i === index ? own : each));
  edited = null;
  step(index === null ? 'frame added' : 'frame corrected', {frames});
  statusLine.textContent = `Saved: ${byId('count').textContent}.`;
  byId('freeze').focus({preventScroll: true});
}

function letGo(): void {
  edited = null;
  showState();
}

/** Replaces or removes the adapter, and lets the visitor undo that. */
function changeAdapter(what: string, doing: () => Promise<string>): Promise<void> {
  return work(async () => {
    const former = state.adapter;
    const said = await doing();
    const adapter = what === 'adapter forgotten' ? null : await engine.call('file');
    history.add(what, () => bringBack(former));
    become({...state, adapter});
    return said;
  });
}

/** Restores an earlier adapter. */
function bringBack(adapter: Blob | null): void {
  void work(async () => {
    if (adapter === null) {
      await engine.call('forget');
    } else {
      await engine.call('open', new File([adapter], 'hand.safetensors'));
    }
    become({...state, adapter});
    return 'Undone.';
  });
}

function sizeText({parameters, bytes}: Size): string {
  return `${parameters.toLocaleString('en')} parameters, a file of ${(bytes / 1000).toFixed(0)} kB`;
}

async function train(): Promise<string> {
  const frames = state.frames.map(({picture, landmarks}) => ({picture: pixelsOf(picture), landmarks}));
  statusLine.textContent = 'Training …';
  const {hands, grounds, seconds, isStopped, ...size} = await engine.call(
    'learn',
    frames,
    wholeNumberIn(byId('epochs')),
  );
  return (
    `${isStopped ? 'Stopped after' : 'Trained in'} ${seconds.toFixed(0)} s: ${sizeText(size)}. ` +
    `Mean error in ${hands.count} held-out frames: ${percent(hands.before)} of the hand's size before training, ` +
    `${percent(hands.after)} after.` +
    (grounds.count === 0
      ? ''
      : ` Frames without a hand in which one is found: ${grounds.before} of ${grounds.count} before, ` +
        `${grounds.after} after.`)
  );
}

/** The drawings that the page opens with: ten gloves with their landmarks, and five backgrounds. */
function example(): Labelled[] {
  seed++;
  return [...drawings(10, seed), ...grounds(5, seed)].map(({picture, truth}) => ({picture, landmarks: truth}));
}

/** Opens another input. */
function choose(opening: () => Promise<string>): void {
  void work(async () => {
    shown = null;
    byId('rate').textContent = '';
    return opening();
  });
}

const onClick = (id: string, act: () => unknown) => byId(id).addEventListener('click', () => void act());
onClick('camera', () =>
  choose(async () => {
    await source.useCamera();
    return 'Show a hand, and correct a frame where the landmarks are wrong.';
  }),
);
onClick('drawn', () =>
  choose(() => {
    source.useDrawings(6, ++seed);
    return Promise.resolve('Drawings of a striped glove. “Next image” shows another one.');
  }),
);
onClick('next', () => {
  source.next();
  return watch();
});
onClick('close', () => {
  source.close();
  shown = null;
  byId('rate').textContent = '';
  showState();
});
onClick('freeze', () => {
  const {frame, sight} = shown!;
  edit(frame, guessed(sight), null);
  byId('right').scrollIntoView({block: 'nearest'});
  byId('points').querySelector<SVGGElement>('.dot')!.focus({preventScroll: true});
});
onClick('keep', () => keep(editor.value));
onClick('none', () => keep(null));
onClick('discard', () => {
  letGo();
  byId('freeze').focus({preventScroll: true});
});
onClick('ten', () => {
  step('drawings added', {frames: [...state.frames, ...example()]});
  statusLine.textContent = `Added: ${byId('count').textContent}.`;
});
onClick('clear', () => {
  step('frames removed', {frames: []});
  letGo();
  statusLine.textContent = 'Removed. Undo restores them.';
});
onClick('learn', async () => {
  isTraining = true;
  await changeAdapter('training', train);
  isTraining = false;
  showState();
});
onClick('stop', () => engine.call('stop'));
onClick('save', () => {
  download({name: 'hand.safetensors', content: state.adapter!});
  statusLine.textContent = 'Downloaded. Load it with loadAdapter, or drop it on this page.';
});
onClick('save-graph', () =>
  work(async () => {
    const {topology, weights} = await engine.call('graph');
    download({name: 'hand.json', content: topology}, {name: 'hand.bin', content: weights});
    return 'Downloaded hand.json and hand.bin. Load them with tf.loadGraphModel.';
  }),
);
onClick('forget', () =>
  changeAdapter('adapter forgotten', async () => {
    await engine.call('forget');
    return 'Adapter removed. Undo restores it until you reload the page.';
  }),
);
onFiles(byId('files'), byId('drop'), files => {
  const [file] = files;
  if (busy || file === undefined) {
    return;
  }
  if (file.name.endsWith('.safetensors')) {
    void changeAdapter('file opened', async () => `Opened ${file.name}: ${sizeText(await engine.call('open', file))}.`);
    return;
  }
  choose(async () => {
    await source.useFiles(files);
    return 'Correct a frame where the landmarks are wrong.';
  });
});
document.addEventListener('visibilitychange', () => void watch());

state = {...state, frames: example()};
source.useDrawings(6, ++seed);
showState();
void work(async () => {
  const {parameters} = await engine.call('start', new URL('model/handlandmark-lite.json', document.baseURI).href);
  const adapter = await kept.read();
  if (adapter !== null) {
    await engine.call('open', new File([adapter], 'hand.safetensors'));
    state = {...state, adapter};
  }
  const again = adapter === null ? '' : ' Your previous adapter is restored.';
  return `Ready: ${(parameters / 1e6).toFixed(1)} million parameters.${again}`;
});
