import packed from 'virtual:lines';
import {byId, make, percent, sayOutcome, wholeNumberIn} from '../../shared/dom';
import {download, onFiles} from '../../shared/files';
import {TimeLeft} from '../../shared/timeLeft';
import {Remote} from '../../shared/worker';
import {type Line, upsideDown} from '../lines';
import {chancesInRuntime, type Runtime, type Session} from '../runtime';
import {canvasOf, Pad} from './pad';
import type {Engine, News} from './protocol';

const FILE = 'ch_ppocr_mobile_v2.0_cls_infer.onnx';

/** A line that is not trained on, with its direction. */
interface Shown {
  line: Line;
  isTurned: boolean;
}

/** The published file and the tuned one, as ONNX Runtime has loaded them. */
type Which = 'published' | 'tuned';

const [statusLine, progress] = [byId('status'), byId<HTMLProgressElement>('progress')];
const unpacked = ({ink, ...size}: (typeof packed.train)[0]): Line => ({
  ...size,
  ink: Float32Array.from(atob(ink), sign => sign.charCodeAt(0) / 255),
});
const train = packed.train.map(unpacked);
/** Every second one is upside down. */
const tests = packed.test.map(unpacked).map<Shown>((line, i) => {
  const isTurned = i % 2 === 1;
  return {line: isTurned ? upsideDown(line) : line, isTurned};
});
/** Lines that the visitor wrote, upright. */
const own: Line[] = [];

let runtime: Runtime | undefined;
const sessions: Partial<Record<Which, Session>> = {};
/** The probability that each line is upside down. */
const chances: Partial<Record<Which, number[]>> = {};
let tuned: Uint8Array<ArrayBuffer> | null = null;
let [busy, isTraining] = [true, false];
/** Whether what is on the pad was turned. */
let isTurned = false;
let shownLine = 0;

const left = new TimeLeft();
const pad = new Pad(byId<HTMLCanvasElement>('pad'), () => void answer());
const engine = new Remote<Engine, News>(
  new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}),
  ({step, steps, loss}) => {
    progress.value = step / steps;
    statusLine.textContent = `Step ${step} of ${steps}, loss ${loss.toFixed(3)}${left.text(step, steps)}`;
  },
);

/** Does something that takes a while, with the controls disabled that would interfere. */
async function work(doing: () => Promise<string>): Promise<void> {
  busy = true;
  show();
  await sayOutcome(statusLine, doing);
  [busy, isTraining, progress.value] = [false, false, 0];
  show();
  await answer();
}

/** Lets ONNX Runtime load a file and look at the lines. What was loaded before stays if it cannot. */
async function load(which: Which, file: Uint8Array): Promise<void> {
  const session = await runtime!.InferenceSession.create(file);
  try {
    const found: number[] = [];
    // One at a time, so that the page can react in between.
    for (const {line} of tests) {
      found.push(...(await chancesInRuntime(runtime!, session, [line])));
    }
    await sessions[which]?.release();
    sessions[which] = session;
    chances[which] = found;
  } catch (error) {
    await session.release();
    throw error;
  }
}

async function forget(): Promise<void> {
  await sessions.tuned?.release();
  delete sessions.tuned;
  delete chances.tuned;
  tuned = null;
}

function show(): void {
  const hasLine = pad.line !== null;
  const enabled: Record<string, boolean> = {
    learn: !busy,
    stop: isTraining,
    save: !busy && tuned !== null,
    forget: !busy && tuned !== null,
    file: !busy,
    turn: hasLine,
    clear: hasLine,
    add: !busy && hasLine,
  };
  for (const [id, isEnabled] of Object.entries(enabled)) {
    byId<HTMLButtonElement>(id).disabled = !isEnabled;
  }
  const more = own.length === 0 ? '' : ` and ${own.length} of yours`;
  byId('amount').textContent = `${train.length} lines of handwriting${more}, each upright and upside down.`;
  const counts = (['published', 'tuned'] as const).flatMap(which =>
    chances[which] === undefined ? [] : [`${which} file ${tests.filter((_, i) => isRight(which, i)).length}`],
  );
  byId('accuracy').textContent =
    counts.length === 0 ? '' : `Correct of ${tests.length}, by ONNX Runtime: ${counts.join(', ')}.`;
  byId('lines').replaceChildren(...tests.map(itemOf));
}

function isRight(which: Which, index: number): boolean {
  return chances[which]![index]! > 0.5 === tests[index]!.isTurned;
}

function textOf(chance: number): string {
  return chance > 0.5 ? `upside down, ${percent(chance)}` : `upright, ${percent(1 - chance)}`;
}

function itemOf({line, isTurned: truth}: Shown, index: number): HTMLLIElement {
  const canvas = canvasOf(line);
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', `A handwritten number that is ${truth ? 'upside down' : 'upright'}`);
  const answers = (['published', 'tuned'] as const).map(which => {
    const chance = chances[which]?.[index];
    const isWrong = chance !== undefined && !isRight(which, index);
    const said = make('span', {className: isWrong ? 'wrong' : ''}, chance === undefined ? '–' : textOf(chance));
    said.prepend(isWrong ? '✗ ' : '');
    return make('div', {className: `answer ${which}`}, make('span', {}, which), said);
  });
  const isFixed = chances.tuned !== undefined && isRight('tuned', index) && !isRight('published', index);
  return make('li', {className: isFixed ? 'fixed' : ''}, canvas, ...answers);
}

/** What both files say of the line on the pad. */
async function answer(): Promise<void> {
  const {line} = pad;
  for (const which of ['published', 'tuned'] as const) {
    const session = sessions[which];
    const place = byId(`answer-${which}`);
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
  byId('turn').textContent = turned ? 'Turn upright' : 'Turn upside down';
  if (line === null) {
    pad.clear();
  } else {
    pad.show(line);
  }
  void answer();
}

async function trainFile(): Promise<string> {
  isTraining = true;
  show();
  statusLine.textContent = 'Training …';
  const {file, parameters, seconds, isStopped} = await engine.call(
    'learn',
    [...train, ...own],
    wholeNumberIn(byId('epochs')),
  );
  await load('tuned', file);
  tuned = file;
  const began = isStopped ? 'Stopped after' : 'Trained in';
  return `${began} ${seconds.toFixed(0)} s: ${parameters.toLocaleString('en')} parameters. ONNX Runtime runs the tuned file.`;
}

const onClick = (id: string, act: () => unknown) => byId(id).addEventListener('click', () => void act());
onClick('learn', () => work(trainFile));
onClick('stop', () => engine.call('stop'));
onClick('save', () => {
  download({name: 'tuned.onnx', content: new Blob([tuned!])});
  statusLine.textContent = 'Downloaded tuned.onnx.';
});
onClick('forget', () =>
  work(async () => {
    await forget();
    return 'The tuned file is forgotten.';
  }),
);
onClick('turn', () => put(pad.line && upsideDown(pad.line), !isTurned));
onClick('random', () => {
  const {line, isTurned: turned} = tests[shownLine++ % tests.length]!;
  put(turned ? upsideDown(line) : line, false);
});
onClick('clear', () => put(null, false));
onClick('add', () => {
  const line = pad.line!;
  own.push(isTurned ? upsideDown(line) : line);
  put(null, false);
  statusLine.textContent = 'Added. Train again to use it.';
});
onFiles(byId<HTMLInputElement>('file'), byId('drop'), ([file]) => {
  if (!busy && file !== undefined) {
    void work(async () => {
      const bytes = new Uint8Array(await file.arrayBuffer());
      await load('tuned', bytes).catch((error: unknown) => {
        throw new Error(`${file.name}: ONNX Runtime cannot run it here. ${(error as Error).message}`, {cause: error});
      });
      tuned = bytes;
      return `ONNX Runtime runs ${file.name} as the tuned file.`;
    });
  }
});

void work(async () => {
  const at = (path: string) => new URL(path, document.baseURI).href;
  // As from a CDN: it finds its WebAssembly beside it.
  runtime = (await import(/* @vite-ignore */ at('runtime/ort.wasm.min.mjs'))) as Runtime;
  runtime.env.wasm.numThreads = 1;
  const response = await fetch(at(`model/${FILE}`));
  if (!response.ok) {
    throw new Error(`The model could not be loaded: ${response.url} answers ${response.status}.`);
  }
  const file = new Uint8Array(await response.arrayBuffer());
  await load('published', file);
  const {parameters} = await engine.call('start', file);
  return `Ready: ${parameters.toLocaleString('en')} parameters.`;
});
