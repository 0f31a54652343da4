import {make} from '../../shared/dom';
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
import {ModelActions, otherFormats, startModel} from '../../shared/page/ggufPage';
import {sizeText} from '../../shared/page/results';
import {saveStep} from '../../shared/page/saveStep';
import {Store} from '../../shared/page/store';
import {shownText, TalkStep} from '../../shared/page/talkStep';
import {isBusy, onChange, say, show, showCount, showLoading, showStep, undoButton, work} from '../../shared/page/work';
import {Plot, type Point} from '../../shared/plot';
import {remote} from '../../shared/worker';
import type {LanguageEngine} from './engine';
import type {News, Prompt, Rating} from './protocol';
import {SAMPLE_RATINGS, showRatings, thumbs} from './ratings';
import {tabs} from './tabs';
import {askedAs, examplesIn, SAMPLES} from './texts';

/** What the browser keeps of what the visitor made. */
interface KeptState {
  texts: string;
  ratings: readonly Rating[];
  /** The file of the adapter, if there is one. */
  adapter: Blob | null;
}

/** What a training showed while it went on. */
interface Course {
  losses: readonly Point[];
  answers: readonly {epoch: number; text: string}[];
}

interface State extends KeptState {
  course: Course;
}

/** For texts and for ratings: how many epochs are trained and what is asked, until the visitor changes it. */
const DEFAULTS: readonly (readonly [epochs: string, asked: string])[] = [
  ['10', 'Please bring two coffees and a pizza to table three.'],
  ['3', 'What is a violin?'],
];
const NO_COURSE: Course = {losses: [], answers: []};

/** Whether the visitor rates answers, instead of giving texts. */
let rates = false;
/** Aborted when the visitor stops what the worker does. */
let stopping = new AbortController();
/** The training that goes on. */
let present: Course | null = null;

const engine = remote<LanguageEngine, News>(
  new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}),
  showNews,
);
const kept = new Kept<KeptState>('language');
const store = new Store<State, KeptState>(
  {texts: SAMPLES, ratings: SAMPLE_RATINGS, adapter: null, course: NO_COURSE},
  {
    keep: {
      ...{in: kept, names: ['texts', 'ratings', 'adapter']},
      of: ({texts, ratings, adapter}) => ({texts, ratings, adapter: actions.isOtherModel ? null : adapter}),
    },
    settle,
  },
);
const hasAdapter = () => store.state.adapter !== null;
const epochs = new NumberField('epochs', 'Epochs', {value: Number(DEFAULTS[0]![0]), max: 40});
const talk = new TalkStep({
  value: DEFAULTS[0]![1],
  hasAdapter,
  answer: (asked, learned) => (rates ? engine.sample : engine.write)(promptOf(asked), learned),
  stop,
  onAnswer: (item, asked, completion) => {
    const prompt = promptOf(asked);
    if (rates && typeof prompt !== 'string' && completion !== '') {
      offerThumbs(item, {prompt, completion});
    }
  },
});
const actions: ModelActions<State['course']> = new ModelActions<State['course']>(
  engine,
  store,
  talk.switched,
  NO_COURSE,
);
const texts = make('textarea', {id: 'texts', rows: 14, spellcheck: false});
const ratingList = make('ol', {id: 'ratings', tabIndex: 0, ariaLabel: 'Rated answers, the latest first'});
const written = make('ol', {id: 'written', tabIndex: 0, ariaLabel: 'Answers after each epoch'});
const lossPlace = make('div', {id: 'loss'});
const plot = new Plot(lossPlace, {title: 'Loss', xLabel: 'step'});

function showNews(news: News): void {
  switch (news.kind) {
    case 'loading':
      showLoading('model', news);
      break;
    case 'preparing':
      showCount('Reading the ratings', news);
      break;
    case 'step':
      showStep(news);
      showCourse({...present!, losses: [...present!.losses, {x: news.step, y: news.loss}]});
      break;
    case 'sample':
      showCourse({...present!, answers: [news, ...present!.answers]});
      break;
    case 'piece':
      talk.append(news.text);
  }
}

/** Shows the training that goes on, or the one that the adapter comes from. */
function showCourse(course: Course | null): void {
  present = course;
  const {losses, answers: all} = course ?? store.state.course;
  plot.show(losses.length === 0 ? [] : [{name: 'loss', points: losses}]);
  if (written.childElementCount !== all.length) {
    written.replaceChildren(
      ...all.map(({epoch, text}) => make('li', {}, make('span', {}, `Epoch ${epoch} `), shownText(text))),
    );
  }
}

function countText(): string {
  try {
    const {length} = examplesIn(store.state.texts);
    return `${length} ${length === 1 ? 'text' : 'texts'}`;
  } catch (error) {
    return (error as Error).message;
  }
}

function ratedText(): string {
  const {ratings} = store.state;
  const up = ratings.filter(({label}) => label).length;
  return `${up} up, ${ratings.length - up} down`;
}

/** What is asked, in the format of the texts; as a chat if there are none, or none that can be read. */
function promptOf(asked: string): Prompt {
  try {
    return askedAs(asked, rates ? [] : examplesIn(store.state.texts));
  } catch {
    return askedAs(asked, []);
  }
}

/** Gives the worker the adapter of the page. */
async function settle({adapter: former}: Pick<State, 'adapter'>): Promise<void> {
  const {adapter, texts: text} = store.state;
  texts.value = text;
  if (adapter !== former) {
    await (adapter === null ? engine.forget() : engine.open(adapter));
    talk.switched.checked = adapter !== null;
  }
}

function replaceTexts(text: string, said: string): void {
  texts.value = text;
  store.change('texts replaced', {texts: text});
  say(said);
}

function setRatings(what: string, change: (ratings: readonly Rating[]) => readonly Rating[]): void {
  if (!isBusy()) {
    store.change(what, {ratings: change(store.state.ratings)});
  }
}

/** What training needs first; empty if nothing. */
function missing(): string {
  if (rates) {
    return store.state.ratings.length >= 2 ? '' : 'Training needs at least two ratings.';
  }
  return store.state.texts.trim() === '' ? 'Training needs texts.' : '';
}

async function train(): Promise<string> {
  const {signal} = (stopping = new AbortController());
  showCourse(NO_COURSE);
  const {ratings, texts: text} = store.state;
  const training = {epochs: epochs.value, sample: promptOf(talk.asked)};
  const examples = rates ? [] : examplesIn(text);
  try {
    const {seconds, truncated, ...size} = await (rates
      ? engine.learnRatings({ratings, ...training})
      : engine.learn({examples, ...training}));
    store.change('training', {adapter: await engine.file(), course: present!});
    talk.switched.checked = true;
    const short = truncated === 0 ? '' : ` ${truncated} were too long and were truncated.`;
    const source = rates ? `${ratings.length} ratings` : `${examples.length} texts`;
    const began = signal.aborted ? 'Stopped after' : `Trained on ${source} in`;
    return `${began} ${seconds.toFixed(0)} s: ${sizeText(size)}.${short}`;
  } finally {
    showCourse(null);
  }
}

function stop(): void {
  stopping.abort();
  void engine.stop();
}

/** Lets the visitor rate an answer, once: later, the list of ratings does. */
function offerThumbs(item: HTMLElement, answered: Omit<Rating, 'label'>): void {
  const buttons = thumbs(answered.completion, undefined, label => {
    if (!isBusy()) {
      setRatings('rating', ratings => [...ratings, {...answered, label}]);
      buttons.forEach(thumb => thumb.remove());
      talk.field.focus();
    }
  });
  item.append(...buttons);
}

async function start(): Promise<string> {
  store.set((await kept.read()) ?? {});
  const {adapter, texts: text} = store.state;
  texts.value = text;
  const said = await startModel(engine, adapter !== null);
  await settle({adapter: null});
  return said;
}

function choosePanel(id: string): void {
  const former = DEFAULTS[Number(rates)]!;
  rates = id === 'ratings';
  [epochs.input, talk.field].forEach((input, i) => {
    if (input.value === former[i]) {
      input.value = DEFAULTS[Number(rates)]![i]!;
    }
  });
  show();
}

texts.addEventListener('input', () => store.set({texts: texts.value}));
onChange(() => {
  showRatings(ratingList, store.state.ratings, (rating, label) => {
    if (label === 'remove') {
      setRatings('rating removed', ratings => ratings.filter(each => each !== rating));
    } else if (label !== rating.label) {
      setRatings('rating', ratings => ratings.map(each => (each === rating ? {...rating, label} : each)));
    }
  });
  showCourse(present);
});

page(
  [
    step(
      'give',
      'What to learn',
      ...tabs(
        'give-title',
        [
          {
            id: 'texts',
            label: 'Texts',
            children: [
              make('label', {
                ...{className: 'note', htmlFor: 'texts'},
                innerHTML:
                  'Separate texts with an empty line. Write <code>=&gt;</code> between a prompt and the answer to ' +
                  'learn. Chats are JSON lines with <code>{"messages"}</code>.',
              }),
              texts,
              row(
                button(
                  'Restore example',
                  () => replaceTexts(SAMPLES, 'The example is restored. Undo restores your texts.'),
                  {id: 'samples', kind: 'quiet'},
                ),
                liveNote('count', countText),
              ),
              dropZone(
                'a text file',
                {
                  accept: '.txt,.md,.jsonl,.safetensors,.gguf',
                  more: ' (.txt, .jsonl), an adapter of this page, or another model (.gguf)',
                },
                ([file]) =>
                  work(async () => {
                    if (file!.name.endsWith('.gguf')) {
                      return actions.openModel(file!);
                    }
                    if (file!.name.endsWith('.safetensors')) {
                      return actions.openAdapter(file!);
                    }
                    replaceTexts(await file!.text(), '');
                    return `Opened ${file!.name}: ${countText()}.`;
                  }),
              ),
            ],
          },
          {
            id: 'ratings',
            label: 'Ratings',
            children: [
              note(
                'Ask something in step 3 and give the answer a thumb up or down. Or flip the thumbs of this example, ' +
                  'where short answers are good. The model learns to give more answers like the good ones.',
              ),
              ratingList,
              row(
                button('Restore example', () => setRatings('ratings replaced', () => SAMPLE_RATINGS), {
                  ...{id: 'sample-ratings', kind: 'quiet' as const},
                }),
                liveNote('rated', ratedText),
              ),
            ],
          },
        ],
        choosePanel,
      ),
    ),
    trainStep(
      {
        fields: [epochs.field],
        help: 'An epoch is one pass over all texts or ratings, four in each step. A step takes a few seconds.',
        missing,
        train: () => work(train),
        stop,
        label: () => (rates ? 'Learn from these' : 'Train'),
      },
      lossPlace,
      make('h3', {}, 'Answers during training'),
      help('After each epoch, the model answers the prompt in step 3.'),
      written,
    ),
    talk.section,
    saveStep({
      name: 'language',
      adapter: () => store.state.adapter,
      forget: () => actions.forget(),
      others: otherFormats(engine),
      about:
        'The adapter is a small file for this page and for <code>loadAdapter</code>, or in the formats of PEFT (Python) ' +
        'and llama.cpp. This browser keeps texts, ratings and adapter, and restores them when you reload the page.',
    }),
  ],
  undoButton,
);
void work(start);
