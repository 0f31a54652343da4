import {byId, make, percent, sayOutcome, wholeNumberIn} from '../../shared/dom';
import {download, onFiles} from '../../shared/files';
import {History} from '../../shared/history';
import {Kept} from '../../shared/kept';
import {Remote} from '../../shared/worker';
import {SIDE} from '../looks';
import {PointEditor} from './editor';
import {show} from './points';
import {type Engine, heldOutOf, type News, type Sight, type Size} from './protocol';
import {drawings, type Frame, grounds, Source} from './source';

/** Fewer frames with a hand do not train; so many are advised. */
const [NEEDED, ADVISED] = [5, 10];

/** A frame with its points where they belong, or with none where there is no hand. */
interface Labelled {
  picture: HTMLCanvasElement;
  landmarks: readonly number[] | null;
}

/** All that the visitor made. Of this the browser keeps the adapter. */
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
/** The frame that is being put right, and which of the kept ones it is, if any. */
let edited: {frame: Frame; index: number | null} | null = null;
let shown: {frame: Frame; sight: Sight} | null = null;
let busy = true;
let isTraining = false;
let seed = 100;

const engine = new Remote<Engine, News>(new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}), showNews);
const history = new History(byId('undo'));
const kept = new Kept<Blob | null>('hand: adapter');
const source = new Source(byId<HTMLVideoElement>('video'));
const editor = new PointEditor(byId<SVGSVGElement>('points'), byId('place'), former => {
  const frame = edited;
  history.add('point moved', () => {
    if (edited === frame) {
      editor.value = former;
    }
  });
});

function showNews(news: News): void {
  if (news.kind === 'copies') {
    progress.value = (0.2 * news.done) / news.total;
    statusLine.textContent = `Looking at the frames and altered copies: ${news.done} of ${news.total}`;
  } else {
    progress.value = 0.2 + (0.8 * news.step) / news.steps;
    statusLine.textContent = `Step ${news.step} of ${news.steps}, loss ${news.loss.toFixed(4)}`;
  }
}

/** Does something in the worker, with everything disabled that would disturb it. */
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

/** Looks at the present frame, and as long as that changes by itself at the next. A training has the worker alone. */
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
          byId('rate').textContent = source.isMoving ? `${rate.toFixed(rate < 10 ? 1 : 0)} frames a second` : '';
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
  byId('before-text').textContent = `As published${likelihood(sight?.before.presence)}`;
  byId('after-text').textContent =
    state.adapter === null ? 'Nothing learned yet' : `As learned${likelihood(sight?.after?.presence)}`;
  byId<HTMLButtonElement>('freeze').disabled = busy || shown === null;
}

/** How likely a model says there is a hand. */
function likelihood(presence: number | undefined): string {
  return presence === undefined ? '' : `, a hand: ${Math.round(100 * presence)} %`;
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
  byId('count').textContent =
    `${hands} of ${Math.max(ADVISED, hands)} frames` + (none === 0 ? '' : `, and ${none} without a hand`);
  const isHeld = heldOutOf(frames);
  byId('frames').replaceChildren(...frames.map((frame, i) => itemOf(frame, i, isHeld[i]!)));
  // Their colour is known where they are.
  frames.forEach(({picture, landmarks}, i) => show(byId('frames').querySelectorAll('canvas')[i]!, picture, landmarks));
  byId('editor').hidden = edited === null;
  byId('empty').hidden = edited !== null;
  showFrame();
}

/** What is still needed for a training, or would do it good. */
function missingText(hands: number, none: number): string {
  if (hands < NEEDED) {
    return `${NEEDED} frames with a hand are needed, and ${ADVISED} advised: every fifth is held out.`;
  }
  return none === 0 ? 'Keep a few frames without a hand, too: else it may see one in anything.' : '';
}

function itemOf({picture, landmarks}: Labelled, index: number, isHeld: boolean): HTMLLIElement {
  const small = Object.assign(document.createElement('canvas'), {width: 112, height: 112, className: 'after'});
  const about = `${landmarks === null ? ', no hand' : ''}${isHeld ? ', held out' : ''}`;
  const label = `Frame ${index + 1}${about}: put right`;
  const open = make('button', {className: `frame${isHeld ? ' held' : ''}`, title: label, ariaLabel: label}, small);
  open.addEventListener('click', () => void putRight({picture, landmarks}, index));
  const remove = make('button', {className: 'remove', ariaLabel: `Remove frame ${index + 1}`}, '✕');
  remove.addEventListener('click', () => {
    step('frame removed', {frames: state.frames.filter((_, i) => i !== index)});
    letGo();
    statusLine.textContent = 'Removed. Undo brings it back.';
  });
  [open, remove].forEach(button => (button.disabled = busy));
  return make('li', {}, open, remove);
}

/** Takes on another state, of which the browser keeps the adapter. */
function become(next: State): void {
  if (next.adapter !== state.adapter) {
    void kept.write(next.adapter);
  }
  state = next;
}

/** Does a step that can be undone, and does not need the worker. */
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

/** Opens a frame that was kept. Where it had no points, they begin where the model sees them. */
async function putRight({picture, landmarks}: Labelled, index: number): Promise<void> {
  edit({picture, truth: null}, landmarks ?? guessed(await engine.call('look', pixelsOf(picture))), index);
}

/** The landmarks as learned, or as published where nothing was learned. */
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

/** Keeps the frame that is being put right. */
function keep(landmarks: readonly number[] | null): void {
  const {frame, index} = edited!;
  const own = {picture: frame.picture, landmarks};
  const frames = index === null ? [...state.frames, own] : state.frames.map((each, i) => (i === index ? own : each));
  edited = null;
  step(index === null ? 'frame kept' : 'frame put right', {frames});
  statusLine.textContent = `Kept: ${byId('count').textContent}.`;
  byId('freeze').focus({preventScroll: true});
}

function letGo(): void {
  edited = null;
  showState();
}

/** Does what gives another adapter, or none, and lets the visitor undo it. */
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

/** Gives the worker another adapter. */
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
  const said = isStopped ? 'Stopped, with what it learned so far' : 'Learned';
  return (
    `${said} in ${seconds.toFixed(0)} s: ${sizeText(size)}. Mean error in ${hands.count} held out: ` +
    `${percent(hands.before)} of the hand before, ${percent(hands.after)} after.` +
    (grounds.count === 0
      ? ''
      : ` A hand seen without one: ${grounds.before} of ${grounds.count} before, ${grounds.after} after.`)
  );
}

/** Watches something else. */
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
    return 'Hold a hand into the square, and freeze a frame where the points are wrong.';
  }),
);
onClick('drawn', () =>
  choose(() => {
    source.useDrawings(6, ++seed);
    return Promise.resolve('Drawings of a striped glove. Next shows another.');
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
  const more = [...drawings(10, ++seed), ...grounds(5, seed)].map(({picture, truth}) => ({picture, landmarks: truth}));
  step('drawings added', {frames: [...state.frames, ...more]});
  statusLine.textContent = 'Ten drawings of a striped glove, whose points are where they were drawn, and five without.';
});
onClick('clear', () => {
  step('frames removed', {frames: []});
  letGo();
  statusLine.textContent = 'Removed. Undo brings them back.';
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
  statusLine.textContent = 'Downloaded. loadAdapter reads it.';
});
onClick('save-graph', () =>
  work(async () => {
    const {topology, weights} = await engine.call('graph');
    download({name: 'hand.json', content: topology}, {name: 'hand.bin', content: weights});
    return 'Downloaded: hand.json and hand.bin, which tf.loadGraphModel takes.';
  }),
);
onClick('forget', () =>
  changeAdapter('adapter forgotten', async () => {
    await engine.call('forget');
    return 'The adapter is gone. Undo brings it back, until the page is loaded again.';
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
    return 'Freeze a frame where the points are wrong.';
  });
});
document.addEventListener('visibilitychange', () => void watch());

showState();
void work(async () => {
  const {parameters} = await engine.call('start', new URL('model/handlandmark-lite.json', document.baseURI).href);
  const adapter = await kept.read();
  if (adapter !== null) {
    await engine.call('open', new File([adapter], 'hand.safetensors'));
    state = {...state, adapter};
  }
  const again = adapter === null ? '' : ' Your adapter from last time is here again.';
  return `Ready: ${(parameters / 1e6).toFixed(1)} million parameters.${again} Begin with the camera, or drawn gloves.`;
});
