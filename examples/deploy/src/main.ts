import {make} from '../../shared/dom';
import {button, choice, dropZone, enable, help, labelled, page, row, step} from '../../shared/page/controls';
import {shownText} from '../../shared/page/talkStep';
import {isBusy, progress, say, show, showLoading, statusLine, work} from '../../shared/page/work';
import {remote} from '../../shared/worker';
import {FORMATS, HELD_OUT, textOf} from '../data';
import type {DeployEngine} from './engine';
import type {News} from './protocol';

/** So many answers are shown. */
const MAX_ANSWERS = 12;
/** The choice of no adapter. A file has another name. */
const NONE = '';
const NAMES = Object.keys(FORMATS);

/** The answer that is being generated. */
let current: HTMLElement | null = null;
/** Aborted when the visitor stops what the worker does. */
let stopping = new AbortController();

const engine = remote<DeployEngine, News>(
  new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}),
  showNews,
);
const text = make('input', {id: 'text', type: 'text', value: textOf(HELD_OUT[1]!), maxLength: 400});
enable(text, () => !isBusy());
const names = {[NONE]: 'none', ...Object.fromEntries(NAMES.map(name => [name, name]))};
const adapter = choice('adapter', names, 'write-help');
adapter.value = NAMES[0]!;
const answers = make('ol', {id: 'answers', ariaLabel: 'Answers, the latest first', ariaLive: 'polite'});

function showNews(news: News): void {
  if (news.kind === 'loading') {
    showLoading('model', news);
  } else {
    current!.textContent = news.text;
  }
}

/** Generates with some adapters in turn. */
async function write(chosen: readonly string[]): Promise<string> {
  const asked = text.value.trim();
  if (asked === '') {
    throw new Error('Give a text first.');
  }
  const {signal} = (stopping = new AbortController());
  try {
    for (const name of chosen) {
      if (!signal.aborted) {
        await writeWith(name, asked);
      }
    }
  } finally {
    current = null;
  }
  return signal.aborted ? 'Stopped.' : 'Done. The base model was loaded once, and stays as it is.';
}

async function writeWith(name: string, asked: string): Promise<void> {
  const who = name === NONE ? 'No adapter' : name;
  say(`Generating: ${who} …`);
  current = make('strong', {}, '…');
  const item = make('li', {className: name === NONE ? '' : 'learned'}, make('span', {}, `${who}: ${asked}`));
  item.append('\n', current);
  answers.prepend(item);
  [...answers.children].slice(MAX_ANSWERS).forEach(old => old.remove());
  show();
  const {text: answer, switched, seconds} = await engine.answer(name, asked);
  current.textContent = shownText(answer, stopping.signal.aborted);
  item.append('\n', make('span', {}, `Switched in ${switched.toFixed(2)} ms, answered in ${seconds.toFixed(1)} s`));
}

/** Adds an adapter by its file, or by the two files of PEFT, and chooses it. */
async function open(files: readonly File[]): Promise<string> {
  const config = files.find(({name}) => name.endsWith('.json'));
  const weights = files.find(file => file !== config);
  if (weights === undefined) {
    throw new Error('Choose adapter_config.json together with adapter_model.safetensors.');
  }
  const name = weights.name.replace(/\.safetensors$/, '');
  const bytes = await engine.open(name, weights, await config?.text());
  if (![...adapter.options].some(({value}) => value === name)) {
    adapter.append(new Option(name, name));
  }
  adapter.value = name;
  return `Opened ${weights.name}: ${(bytes / 1000).toFixed(0)} kB. The base model was not loaded again.`;
}

function stop(): void {
  stopping.abort();
  void engine.stop();
}

page([
  step(
    'write',
    'Write an item of a shopping list',
    row(labelled('Text', text), labelled('Adapter', adapter)),
    row(
      button('Write', () => work(() => write([adapter.value])), {id: 'once', kind: 'primary'}),
      button('Write with each adapter', () => work(() => write([...adapter.options].map(({value}) => value))), {
        id: 'each',
      }),
      button('Stop', stop, {id: 'stop', whileBusy: () => current !== null}),
    ),
    help('Each adapter has learned one format of a shopping list, from 36 other items.', 'write-help'),
    progress,
    statusLine,
  ),
  step(
    'compare',
    'What the model wrote',
    help('The first use of an adapter makes its tensors. Later ones only choose them.'),
    answers,
  ),
  step(
    'bring',
    'Bring an adapter',
    dropZone(
      'an adapter',
      {accept: '.safetensors,.json', multiple: true, more: ', also as the two files of PEFT'},
      files => work(() => open(files)),
    ),
    help(
      'For example one that the page of the language example has trained on your texts, with the same base and the ' +
        'same <code>=&gt;</code> after the text. Only then does this page load TensorFlow.js.',
    ),
  ),
]);
void work(async () => {
  const {device} = await engine.start(document.baseURI);
  return `Ready, on ${device === 'webgpu' ? 'WebGPU' : 'WASM'}.`;
});
