import {byId, make, sayOutcome, wholeNumberIn} from '../../shared/dom';
import {download, onFiles} from '../../shared/files';
import {History} from '../../shared/history';
import {Kept} from '../../shared/kept';
import {Plot, type Point} from '../../shared/plot';
import {TimeLeft} from '../../shared/timeLeft';
import {Remote} from '../../shared/worker';
import type {Engine, Learned, News, Prompt, Rating, Size} from './protocol';
import {SAMPLE_RATINGS, showRatings, thumbs} from './ratings';
import {connectTabs} from './tabs';
import {askedAs, examplesIn, SAMPLES} from './texts';

/** A model may take this share of the memory that the browser reports; where it reports none, so many bytes. */
const [SHARE_OF_MEMORY, MAX_MODEL_BYTES] = [1 / 4, 1e9];
/** So many answers are shown. */
const MAX_ANSWERS = 12;

/** Everything that the visitor made, which the browser keeps. */
interface State {
  texts: string;
  ratings: readonly Rating[];
  /** The file of the adapter, if there is one. */
  adapter: Blob | null;
}

const [statusLine, progress] = [byId('status'), byId<HTMLProgressElement>('progress')];
const [epochs, switched, field] = (['epochs', 'on', 'text'] as const).map(id => byId<HTMLInputElement>(id)) as [
  HTMLInputElement,
  HTMLInputElement,
  HTMLInputElement,
];
const texts = byId<HTMLTextAreaElement>('texts');

/** For texts and for ratings: how many epochs are trained and what is asked, until the visitor changes it. */
const DEFAULTS: readonly (readonly [epochs: string, asked: string])[] = [
  ['10', 'Please bring two coffees and a pizza to table three.'],
  ['3', 'What is a violin?'],
];

let state: State = {texts: SAMPLES, ratings: SAMPLE_RATINGS, adapter: null};
/** Whether the visitor rates answers, instead of giving texts. */
let rates = false;
/** Whether the visitor chose another model. Its adapter is of no use after a reload, which loads the first one. */
let isOtherModel = false;
let busy = true;
/** Whether the worker does something that can be stopped, and whether the visitor has done so. */
let [stoppable, isStopped] = [false, false];
let losses: Point[] = [];
/** The answer that is being generated. */
let answer: HTMLElement | null = null;

const engine = new Remote<Engine, News>(new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}), showNews);
const history = new History(byId('undo'));
const kept = new Kept<State>('language');
const left = new TimeLeft();
const plot = new Plot(byId('loss'), {title: 'Loss', xLabel: 'step'});

function showNews(news: News): void {
  switch (news.kind) {
    case 'loading': {
      const {done, total} = news;
      // A server may not say how large a file is.
      progress.value = total > 0 ? done / total : 0;
      statusLine.textContent = `Loading the model: ${megabytes(done)} MB${total > 0 ? ` of ${megabytes(total)}` : ''}`;
      break;
    }
    case 'preparing':
      statusLine.textContent = `Reading the ratings: ${news.done} of ${news.total}`;
      break;
    case 'step':
      progress.value = news.step / news.steps;
      statusLine.textContent =
        `Step ${news.step} of ${news.steps}, loss ${news.loss.toFixed(3)}` + left.text(news.step, news.steps);
      losses.push({x: news.step, y: news.loss});
      plot.show([{name: 'loss', points: losses}]);
      break;
    case 'sample':
      byId('written').prepend(make('li', {}, make('span', {}, `Epoch ${news.epoch} `), shown(news.text)));
      break;
    case 'piece':
      answer?.append(news.text);
  }
}

function shown(text: string): string {
  return text.trim() === '' ? '(nothing)' : text.trim();
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}

function sizeText({parameters, bytes}: Size): string {
  return `${parameters.toLocaleString('en')} parameters, a file of ${(bytes / 1000).toFixed(0)} kB`;
}

/** Does something in the worker, with the controls disabled that would interfere. */
async function work(doing: () => Promise<string>, canStop = false): Promise<void> {
  [busy, stoppable, isStopped] = [true, canStop, false];
  showState();
  await sayOutcome(statusLine, doing);
  [busy, stoppable] = [false, false];
  progress.value = 0;
  showState();
}

/** Changes the state, which the browser keeps. */
function become(next: Partial<State>): void {
  state = {...state, ...next};
  void kept.write(isOtherModel ? {...state, adapter: null} : state);
}

/** Loads another model. One that is large for this device can stay on the disk. */
async function changeModel(file: File): Promise<string> {
  const {deviceMemory} = navigator as {deviceMemory?: number};
  const most = deviceMemory === undefined ? MAX_MODEL_BYTES : SHARE_OF_MEMORY * deviceMemory * 2 ** 30;
  const question =
    `${file.name} has ${megabytes(file.size)} MB, much for the memory of this device. Leave its weights in the file? ` +
    'They are read when they are needed, which takes little memory and somewhat more time.';
  const isStreamed = file.size > most && confirm(question);
  const {bytes} = await engine.call('start', file, isStreamed);
  isOtherModel = true;
  become({adapter: null});
  switched.checked = false;
  const place = isStreamed ? ' Its weights stay in the file.' : '';
  return `Opened ${file.name}: the model uses ${megabytes(bytes)} MB of memory.${place}`;
}

function countText(): string {
  try {
    const {length} = examplesIn(texts.value);
    return `${length} ${length === 1 ? 'text' : 'texts'}`;
  } catch (error) {
    return (error as Error).message;
  }
}

function showState(): void {
  const hasAdapter = !busy && state.adapter !== null;
  const enabled: Record<string, boolean> = {
    learn: !busy && (rates ? state.ratings.length >= 2 : texts.value.trim() !== ''),
    stop: stoppable,
    send: !busy,
    on: hasAdapter,
    save: hasAdapter,
    peft: hasAdapter,
    gguf: hasAdapter,
    forget: hasAdapter,
    file: !busy,
    samples: !busy,
    'sample-ratings': !busy,
    'texts-tab': !busy,
    'ratings-tab': !busy,
  };
  for (const [id, isEnabled] of Object.entries(enabled)) {
    byId<HTMLButtonElement>(id).disabled = !isEnabled;
  }
  history.allow(!busy);
  byId('count').textContent = countText();
  byId('learn').textContent = rates ? 'Learn from these' : 'Train';
  const up = state.ratings.filter(({label}) => label).length;
  byId('rated').textContent = `${up} up, ${state.ratings.length - up} down`;
  showRatings(byId('ratings'), state.ratings, (rating, label) => {
    if (label === 'remove') {
      setRatings('rating removed', others => others.filter(each => each !== rating));
    } else if (label !== rating.label) {
      setRatings('rating', all => all.map(each => (each === rating ? {...rating, label} : each)));
    }
  });
}

/** What is asked, in the format of the texts; as a chat if there are none, or none that can be read. */
function promptOf(asked: string): Prompt {
  try {
    return askedAs(asked, rates ? [] : examplesIn(texts.value));
  } catch {
    return askedAs(asked, []);
  }
}

/** Replaces or removes the adapter, and lets the visitor undo that. */
function changeAdapter(what: string, doing: () => Promise<string>, {forgets = false, canStop = false} = {}): void {
  void work(async () => {
    const {adapter} = state;
    const said = await doing();
    history.add(what, () => bringBack(adapter));
    become({adapter: forgets ? null : await engine.call('file')});
    switched.checked = state.adapter !== null;
    return said;
  }, canStop);
}

/** Restores an earlier adapter. */
function bringBack(adapter: Blob | null): void {
  void work(async () => {
    await (adapter === null ? engine.call('forget') : engine.call('open', adapter));
    become({adapter});
    switched.checked = adapter !== null;
    return 'Undone.';
  });
}

/** Replaces the texts, and lets the visitor undo that. */
function replaceTexts(next: string): void {
  const former = texts.value;
  const set = (value: string) => {
    texts.value = value;
    become({texts: value});
    showState();
  };
  history.add('texts replaced', () => {
    set(former);
    statusLine.textContent = 'Undone.';
  });
  set(next);
}

/** Changes the ratings, and lets the visitor undo that. */
function setRatings(what: string, change: (ratings: readonly Rating[]) => readonly Rating[]): void {
  if (busy) {
    return;
  }
  const former = state.ratings;
  const set = (ratings: readonly Rating[]) => {
    become({ratings});
    showState();
  };
  history.add(what, () => {
    set(former);
    statusLine.textContent = 'Undone.';
  });
  set(change(former));
}

/** Trains on texts or ratings. Returns what to tell the visitor. */
async function train(): Promise<string> {
  losses = [];
  plot.show([]);
  byId('written').replaceChildren();
  const asked = field.value.trim();
  const training = {epochs: wholeNumberIn(epochs), sample: promptOf(asked)};
  let learned: Learned;
  let from: string;
  if (rates) {
    from = `${state.ratings.length} ratings`;
    learned = await engine.call('learnRatings', {ratings: state.ratings, ...training});
  } else {
    const examples = examplesIn(texts.value);
    from = `${examples.length} texts`;
    learned = await engine.call('learn', {examples, ...training});
  }
  const {seconds, truncated, ...size} = learned;
  const short = truncated === 0 ? '' : ` ${truncated} were too long and were truncated.`;
  const began = isStopped ? 'Stopped after' : `Trained on ${from} in`;
  return `${began} ${seconds.toFixed(0)} s: ${sizeText(size)}.${short}`;
}

/** Lets the visitor rate an answer, once: later, the list of ratings does. */
function offerThumbs(row: HTMLElement, answered: Omit<Rating, 'label'>): void {
  const buttons = thumbs(answered.completion, undefined, label => {
    if (!busy) {
      setRatings('rating', ratings => [...ratings, {...answered, label}]);
      buttons.forEach(button => button.remove());
      field.focus();
    }
  });
  row.append(...buttons);
}

connectTabs(byId('tabs'), id => {
  const before = DEFAULTS[Number(rates)]!;
  rates = id === 'ratings-tab';
  const after = DEFAULTS[Number(rates)]!;
  [epochs, field].forEach((input, i) => {
    if (input.value === before[i]) {
      input.value = after[i]!;
    }
  });
  showState();
});

texts.addEventListener('input', () => {
  become({texts: texts.value});
  showState();
});
byId('samples').addEventListener('click', () => {
  replaceTexts(SAMPLES);
  statusLine.textContent = 'The example is restored. Undo restores your texts.';
});
byId('sample-ratings').addEventListener('click', () => {
  setRatings('ratings replaced', () => SAMPLE_RATINGS);
});
byId('learn').addEventListener('click', () => changeAdapter('training', train, {canStop: true}));
byId('stop').addEventListener('click', () => {
  isStopped = true;
  void engine.call('stop');
});
byId('ask').addEventListener('submit', event => {
  event.preventDefault();
  const asked = field.value.trim();
  if (asked === '' || busy) {
    return;
  }
  const learned = switched.checked && state.adapter !== null;
  statusLine.textContent = 'Generating …';
  void work(async () => {
    answer = make('strong');
    const who = learned ? 'With the adapter' : 'Without the adapter';
    const row = make('li', {className: learned ? 'learned' : ''}, make('span', {}, `${who}: ${asked}`), '\n', answer);
    byId('answers').prepend(row);
    [...byId('answers').children].slice(MAX_ANSWERS).forEach(old => old.remove());
    const begin = performance.now();
    const prompt = promptOf(asked);
    const text = await engine.call(rates ? 'sample' : 'write', prompt, learned);
    answer.textContent = shown(text);
    if (rates && typeof prompt !== 'string' && text.trim() !== '') {
      offerThumbs(row, {prompt, completion: text.trim()});
    }
    return `${isStopped ? 'Stopped after' : 'Answered in'} ${((performance.now() - begin) / 1000).toFixed(1)} s.`;
  }, true);
});
byId('save').addEventListener('click', () => {
  download({name: 'language.safetensors', content: state.adapter!});
  statusLine.textContent = 'Downloaded. Load it with loadAdapter, or drop it on this page.';
});
byId('peft').addEventListener('click', () => {
  void work(async () => {
    const {config, weights} = await engine.call('peft');
    download({name: 'adapter_config.json', content: config}, {name: 'adapter_model.safetensors', content: weights});
    return 'Downloaded two files. Put them in a folder for PeftModel.from_pretrained.';
  });
});
byId('gguf').addEventListener('click', () => {
  void work(async () => {
    download({name: 'adapter.gguf', content: await engine.call('gguf')});
    return 'Downloaded. Use it with llama-cli -m base.gguf --lora adapter.gguf';
  });
});
byId('forget').addEventListener('click', () =>
  changeAdapter(
    'adapter forgotten',
    async () => {
      await engine.call('forget');
      return 'Adapter removed. Undo restores it until you reload the page.';
    },
    {forgets: true},
  ),
);
onFiles(byId('file'), byId('drop'), ([file]) => {
  if (file === undefined || busy) {
    return;
  }
  if (file.name.endsWith('.gguf')) {
    void work(() => changeModel(file));
  } else if (file.name.endsWith('.safetensors')) {
    changeAdapter('file opened', async () => `Opened ${file.name}: ${sizeText(await engine.call('open', file))}.`);
  } else {
    void work(async () => {
      replaceTexts(await file.text());
      return `Opened ${file.name}: ${countText()}.`;
    });
  }
});

texts.value = state.texts;
showState();
void work(async () => {
  state = (await kept.read()) ?? state;
  texts.value = state.texts;
  const {bytes} = await engine.call('start', new URL('model/base.gguf', document.baseURI).href);
  if (state.adapter !== null) {
    await engine.call('open', state.adapter);
  }
  switched.checked = state.adapter !== null;
  const again = state.adapter === null ? '' : ' Your previous adapter is restored.';
  return `Ready: the model uses ${(bytes / 1e6).toFixed(1)} MB of memory.${again}`;
});
