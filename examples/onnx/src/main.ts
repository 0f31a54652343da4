import packed from 'virtual:lines';
import {make, percent} from '../../shared/dom';
import {download} from '../../shared/files';
import {button, dropZone, help, liveNote, NumberField, page, row, step, trainStep} from '../../shared/page/controls';
import {fetched} from '../../shared/page/fetched';
import {interval, INTERVAL_HELP} from '../../shared/page/results';
import {Store} from '../../shared/page/store';
import {onChange, say, show, showStep, undoButton, work} from '../../shared/page/work';
import {remote} from '../../shared/worker';
import {type Line, upsideDown} from '../lines';
import {chancesInRuntime, type Runtime, type Session} from '../runtime';
import type {DirectionEngine, News} from './engine';
import {canvasOf, Pad} from './pad';

const FILE = 'ch_ppocr_mobile_v2.0_cls_infer.onnx';

/** A line that is not trained on, with its direction. */
interface TestLine {
  line: Line;
  isTurned: boolean;
}

/** The published file and the tuned one. */
const FILES = ['published', 'tuned'] as const;
type Which = (typeof FILES)[number];

/** A file that ONNX Runtime has loaded, and the probability that each test line is upside down. */
interface Loaded {
  session: Session;
  chances: readonly number[];
}

/** All that the visitor made. */
interface State {
  /** Lines that the visitor wrote, upright. */
  written: readonly Line[];
  tuned: Uint8Array<ArrayBuffer> | null;
}

const unpacked = ({ink, ...size}: (typeof packed.train)[0]): Line => ({
  ...size,
  ink: Float32Array.from(atob(ink), sign => sign.charCodeAt(0) / 255),
});
const train = packed.train.map(unpacked);
/** Every second one is upside down. */
const tests = packed.test.map(unpacked).map<TestLine>((line, i) => {
  const isTurned = i % 2 === 1;
  return {line: isTurned ? upsideDown(line) : line, isTurned};
});

let runtime: Runtime | undefined;
const loaded: Partial<Record<Which, Loaded>> = {};
/** Whether what is on the pad was turned. */
let isTurned = false;
let shownLine = 0;

const engine = remote<DirectionEngine, News>(
  new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}),
  showStep,
);
const store = new Store<State>({written: [], tuned: null}, {settle});
const list = make('ul', {id: 'lines', tabIndex: 0, ariaLabel: 'Lines that are not trained on'});
const canvas = make('canvas', {
  ...{id: 'pad', role: 'img', ariaLabel: 'A place to write a number of four to seven digits'},
});
const pad = new Pad(canvas, () => void answer());
const answers = {published: make('dd', {id: 'answer-published'}, '–'), tuned: make('dd', {id: 'answer-tuned'}, '–')};
const epochs = new NumberField('epochs', 'Epochs', {value: 10, max: 40});

/** Has ONNX Runtime load a file and look at the test lines. What was loaded before stays if it cannot. */
async function load(which: Which, file: Uint8Array): Promise<void> {
  const session = await runtime!.InferenceSession.create(file);
  try {
    const chances: number[] = [];
    // One at a time, so that the page can react in between.
    for (const {line} of tests) {
      chances.push(...(await chancesInRuntime(runtime!, session, [line])));
    }
    await loaded[which]?.session.release();
    loaded[which] = {session, chances};
  } catch (error) {
    await session.release();
    throw error;
  }
}

/** Has ONNX Runtime run the tuned file that the page has, if there is one. */
async function settle({tuned: former}: Pick<State, 'tuned'>): Promise<void> {
  const {tuned} = store.state;
  if (tuned === null) {
    await loaded.tuned?.session.release();
    delete loaded.tuned;
  } else if (tuned !== former) {
    await load('tuned', tuned);
  }
  await answer();
}

function isRight(which: Which, index: number): boolean {
  return loaded[which]!.chances[index]! > 0.5 === tests[index]!.isTurned;
}

function accuracyText(): string {
  const counts = FILES.filter(which => loaded[which] !== undefined).map(which => {
    const right = tests.filter((_, i) => isRight(which, i)).length;
    const [low, high] = interval(right, tests.length).map(share => Math.round(100 * share));
    return `${which} file ${right} of ${tests.length} (${low} to ${high} %)`;
  });
  return counts.length === 0 ? '' : `Correct in ONNX Runtime: ${counts.join(', ')}.`;
}

function textOf(chance: number): string {
  return chance > 0.5 ? `upside down, ${percent(chance)}` : `upright, ${percent(1 - chance)}`;
}

function itemOf({line, isTurned: truth}: TestLine, index: number): HTMLLIElement {
  const picture = canvasOf(line);
  picture.setAttribute('role', 'img');
  picture.setAttribute('aria-label', `A handwritten number that is ${truth ? 'upside down' : 'upright'}`);
  const lines = FILES.map(which => {
    const chance = loaded[which]?.chances[index];
    const isWrong = chance !== undefined && !isRight(which, index);
    const text = make('span', {className: isWrong ? 'wrong' : ''}, chance === undefined ? '–' : textOf(chance));
    text.prepend(isWrong ? '✗ ' : '');
    return make('div', {className: `answer ${which}`}, make('span', {}, which), text);
  });
  const isFixed = loaded.tuned !== undefined && isRight('tuned', index) && !isRight('published', index);
  return make('li', {className: isFixed ? 'fixed' : ''}, picture, ...lines);
}

/** What both files say of the line on the pad. */
async function answer(): Promise<void> {
  const {line} = pad;
  for (const which of FILES) {
    const session = loaded[which]?.session;
    const place = answers[which];
    if (line === null || session === undefined) {
      [place.textContent, place.className] = ['–', ''];
      continue;
    }
    const [chance] = await chancesInRuntime(runtime!, session, [line]);
    place.textContent = textOf(chance!);
    place.className = chance! > 0.5 === isTurned ? 'right' : 'wrong';
  }
  show();
}

function put(line: Line | null, turned: boolean): void {
  isTurned = turned;
  turn.textContent = turned ? 'Turn upright' : 'Turn upside down';
  if (line === null) {
    pad.clear();
  } else {
    pad.show(line);
  }
  void answer();
}

/** Puts a test line on the pad, upright. */
function putTestLine(): void {
  const {line, isTurned: turned} = tests[shownLine++ % tests.length]!;
  put(turned ? upsideDown(line) : line, false);
}

function addLine(): void {
  const line = pad.line!;
  put(null, false);
  store.change('line added', {written: [...store.state.written, isTurned ? upsideDown(line) : line]});
  say('Added. Train again to use it.');
}

/** Takes a tuned file on as soon as ONNX Runtime runs it. */
async function takeOn(what: string, tuned: Uint8Array<ArrayBuffer>): Promise<void> {
  await load('tuned', tuned);
  store.change(what, {tuned});
  await answer();
}

async function trainFile(): Promise<string> {
  const lines = [...train, ...store.state.written];
  const {file, parameters, seconds, isStopped} = await engine.learn(lines, epochs.value);
  await takeOn('training', file);
  const began = isStopped ? 'Stopped after' : 'Trained in';
  return `${began} ${seconds.toFixed(0)} s: ${parameters.toLocaleString('en')} parameters. ONNX Runtime runs the tuned file.`;
}

async function forget(): Promise<string> {
  store.change('training forgotten', {tuned: null});
  await settle(store.state);
  return 'The tuned file is forgotten. Undo restores it.';
}

async function openFile(file: File): Promise<string> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  try {
    await takeOn('file opened', bytes);
  } catch (error) {
    throw new Error(`${file.name}: ONNX Runtime cannot run it here. ${(error as Error).message}`, {cause: error});
  }
  return `ONNX Runtime runs ${file.name} as the tuned file.`;
}

function save(): void {
  download({name: 'tuned.onnx', content: new Blob([store.state.tuned!])});
  say('Downloaded tuned.onnx.');
}

async function start(): Promise<string> {
  const at = (path: string) => new URL(path, document.baseURI).href;
  // As from a CDN: it finds its WebAssembly beside it.
  runtime = (await import(/* @vite-ignore */ at('runtime/ort.wasm.min.mjs'))) as Runtime;
  runtime.env.wasm.numThreads = 1;
  const file = new Uint8Array(await (await fetched(at(`model/${FILE}`))).arrayBuffer());
  await load('published', file);
  const {parameters} = await engine.start(file);
  return `Ready: ${parameters.toLocaleString('en')} parameters.`;
}

const hasLine = () => pad.line !== null;
const isTuned = () => store.state.tuned !== null;
const turn = button('Turn upside down', () => put(pad.line && upsideDown(pad.line), !isTurned), {
  ...{id: 'turn', whileBusy: hasLine},
});
onChange(() => list.replaceChildren(...tests.map(itemOf)));

page(
  [
    trainStep(
      {
        fields: [epochs.field],
        help: 'An epoch is one pass over all training lines.',
        train: () => work(trainFile),
        stop: () => engine.stop(),
      },
      liveNote('amount', () => {
        const {length} = store.state.written;
        const more = length === 0 ? '' : ` and ${length} of yours`;
        return `${train.length} lines of handwriting${more}, each upright and upside down.`;
      }),
    ),
    step(
      'see',
      'Lines that are not trained on',
      liveNote('accuracy', accuracyText, {role: 'status'}),
      help(INTERVAL_HELP),
      list,
    ),
    step(
      'write',
      'Write a number',
      canvas,
      row(
        turn,
        button('Random line', putTestLine, {id: 'random', whileBusy: () => true}),
        button('Add to training', addLine, {id: 'add', when: hasLine}),
        button('Clear', () => put(null, false), {id: 'clear', kind: 'quiet', whileBusy: hasLine}),
      ),
      make(
        'dl',
        {id: 'answer'},
        make('dt', {}, 'Published file'),
        answers.published,
        make('dt', {}, 'Tuned file'),
        answers.tuned,
      ),
    ),
    step(
      'own',
      'Use the file',
      row(
        button('Download ONNX file', save, {id: 'save', when: isTuned}),
        button('Forget training', () => work(forget), {id: 'forget', kind: 'quiet', when: isTuned}),
      ),
      dropZone('a tuned file', {accept: '.onnx', more: ' to run it here'}, ([file]) => work(() => openFile(file!))),
      help(
        'The tuned file has the inputs, outputs, and nodes of the published one, so it can replace that wherever it ' +
          'runs. Nothing leaves this tab.',
      ),
    ),
  ],
  undoButton,
);
void work(start);
