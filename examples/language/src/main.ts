import {byId, make, sayOutcome, wholeNumberIn} from '../../shared/dom';
import {download, onFiles} from '../../shared/files';
import {Kept} from '../../shared/kept';
import {Plot, type Point} from '../../shared/plot';
import {Remote} from '../../shared/worker';
import type {Engine, News, Size} from './protocol';
import {askedAs, examplesIn, SAMPLES} from './texts';

/** So many answers are shown. */
const MOST_ANSWERS = 12;

/** All that the visitor made, to be kept and to be brought back. */
interface State {
  texts: string;
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

let state: State = {texts: SAMPLES, adapter: null};
let busy = true;
/** What a worker does that can be stopped. */
let stoppable = false;
let losses: Point[] = [];
/** Where pieces of the answer that is being written go. */
let answer: HTMLElement | null = null;

const engine = new Remote<Engine, News>(new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}), showNews);
const kept = new Kept<State>('language');
const plot = new Plot(byId('loss'), {title: 'Loss', xLabel: 'step'});

function showNews(news: News): void {
  switch (news.kind) {
    case 'loading': {
      const {done, total} = news;
      // A server need not say how long a file is.
      progress.value = total > 0 ? done / total : 0;
      statusLine.textContent = `Loading the model: ${megabytes(done)} MB${total > 0 ? ` of ${megabytes(total)}` : ''}`;
      break;
    }
    case 'step':
      progress.value = news.step / news.steps;
      statusLine.textContent = `Step ${news.step} of ${news.steps}, loss ${news.loss.toFixed(3)}`;
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

/** Does something in the worker, with everything disabled that would disturb it. */
async function work(doing: () => Promise<string>, canStop = false): Promise<void> {
  [busy, stoppable] = [true, canStop];
  showState();
  await sayOutcome(statusLine, doing);
  [busy, stoppable] = [false, false];
  showState();
}

/** Takes on another state, which the browser keeps. */
function become(next: Partial<State>): void {
  state = {...state, ...next};
  void kept.write(state);
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
    learn: !busy && texts.value.trim() !== '',
    stop: stoppable,
    send: !busy,
    on: hasAdapter,
    save: hasAdapter,
    peft: hasAdapter,
    gguf: hasAdapter,
    forget: hasAdapter,
    file: !busy,
    samples: !busy,
  };
  for (const [id, isEnabled] of Object.entries(enabled)) {
    byId<HTMLButtonElement>(id).disabled = !isEnabled;
  }
  byId('count').textContent = countText();
}

/** The examples of the page; none where they cannot be read. */
function readable(): ReturnType<typeof examplesIn> {
  try {
    return examplesIn(texts.value);
  } catch {
    return [];
  }
}

/** Does what gives another adapter, or none. */
function changeAdapter(doing: () => Promise<string>, {forgets = false, canStop = false} = {}): void {
  void work(async () => {
    const said = await doing();
    become({adapter: forgets ? null : await engine.call('file')});
    switched.checked = state.adapter !== null;
    return said;
  }, canStop);
}

texts.addEventListener('input', () => {
  become({texts: texts.value});
  showState();
});
byId('samples').addEventListener('click', () => {
  texts.value = SAMPLES;
  become({texts: SAMPLES});
  showState();
});
byId('learn').addEventListener('click', () =>
  changeAdapter(
    async () => {
      const examples = examplesIn(texts.value);
      losses = [];
      plot.show([]);
      byId('written').replaceChildren();
      const course = {examples, epochs: wholeNumberIn(epochs), sample: askedAs(field.value.trim(), examples)};
      const {seconds, cut, ...size} = await engine.call('learn', course);
      const short = cut === 0 ? '' : ` ${cut} were too long, and cut.`;
      return `Learned from ${examples.length} texts in ${seconds.toFixed(0)} s: ${sizeText(size)}.${short}`;
    },
    {canStop: true},
  ),
);
byId('stop').addEventListener('click', () => void engine.call('stop'));
byId('ask').addEventListener('submit', event => {
  event.preventDefault();
  const asked = field.value.trim();
  if (asked === '' || busy) {
    return;
  }
  const learned = switched.checked && state.adapter !== null;
  statusLine.textContent = 'Writing …';
  void work(async () => {
    answer = make('strong');
    const who = learned ? 'Adapted' : 'Base';
    const row = make('li', {className: learned ? 'learned' : ''}, make('span', {}, `${who}: ${asked}`), '\n', answer);
    byId('answers').prepend(row);
    [...byId('answers').children].slice(MOST_ANSWERS).forEach(old => old.remove());
    const begin = performance.now();
    const text = await engine.call('write', askedAs(asked, readable()), learned);
    answer.textContent = shown(text);
    return `Answered in ${((performance.now() - begin) / 1000).toFixed(1)} s.`;
  }, true);
});
byId('save').addEventListener('click', () => {
  download({name: 'language.safetensors', content: state.adapter!});
  statusLine.textContent = 'Downloaded. loadAdapter reads it, and so does this page.';
});
byId('peft').addEventListener('click', () => {
  void work(async () => {
    const {config, weights} = await engine.call('peft');
    download({name: 'adapter_config.json', content: config}, {name: 'adapter_model.safetensors', content: weights});
    return 'Downloaded two files. PeftModel.from_pretrained reads the folder that they are in.';
  });
});
byId('gguf').addEventListener('click', () => {
  void work(async () => {
    download({name: 'adapter.gguf', content: await engine.call('gguf')});
    return 'Downloaded. llama-cli -m base.gguf --lora adapter.gguf';
  });
});
byId('forget').addEventListener('click', () =>
  changeAdapter(
    async () => {
      await engine.call('forget');
      return 'The adapter is gone.';
    },
    {forgets: true},
  ),
);
onFiles(byId('file'), byId('drop'), ([file]) => {
  if (file === undefined || busy) {
    return;
  }
  if (file.name.endsWith('.safetensors')) {
    changeAdapter(async () => `Opened ${file.name}: ${sizeText(await engine.call('open', file))}.`);
  } else {
    void work(async () => {
      texts.value = await file.text();
      become({texts: texts.value});
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
  progress.value = 0;
  const again = state.adapter === null ? '' : ' Your adapter from last time is here again.';
  return `Ready: the model takes ${(bytes / 1e6).toFixed(1)} MB.${again}`;
});
