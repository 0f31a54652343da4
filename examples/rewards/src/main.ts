import {make} from '../../shared/dom';
import {Kept} from '../../shared/kept';
import {
  button,
  choice,
  dropZone,
  enable,
  help,
  labelled,
  liveNote,
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
import {isBusy, onChange, say, showLoading, showStep, undoButton, work} from '../../shared/page/work';
import {Plot} from '../../shared/plot';
import {remote} from '../../shared/worker';
import type {RewardsEngine} from './engine';
import {PRESETS} from './presets';
import type {Judged, News, StepNews} from './protocol';
import type {Wishes} from './wishes';

/** What the browser keeps of what the visitor made. */
interface KeptState {
  /** One on each line. */
  questions: string;
  wishes: Wishes;
  /** The file of the adapter, if there is one. */
  adapter: Blob | null;
}

interface State extends KeptState {
  /** The steps that the adapter comes from, also those of earlier trainings. */
  course: readonly StepNews[];
}

/** The steps up to now, while a training goes on. */
let present: readonly StepNews[] | null = null;
/** Aborted when the visitor stops a training. */
let stopping = new AbortController();

const engine = remote<RewardsEngine, News>(
  new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}),
  showNews,
);
const kept = new Kept<KeptState>('rewards');
const FIRST = PRESETS.short!;
const store = new Store<State, KeptState>(
  {questions: FIRST.questions.join('\n'), wishes: FIRST.wishes, adapter: null, course: []},
  {
    keep: {
      ...{in: kept, names: ['questions', 'wishes', 'adapter']},
      of: ({questions, wishes, adapter}) => ({questions, wishes, adapter: actions.isOtherModel ? null : adapter}),
    },
    settle,
  },
);
const hasAdapter = () => store.state.adapter !== null;
const questions = make('textarea', {id: 'questions', rows: 4});
const json = make('input', {id: 'json', type: 'text', spellcheck: false});
const words = new NumberField('words', 'Most words', {value: 0, min: 0, max: 200, describedBy: 'wishes-help'});
const avoid = make('input', {id: 'avoid', type: 'text', spellcheck: false});
const code = make('textarea', {id: 'code', rows: 3, spellcheck: false});
const preset = choice('preset', Object.fromEntries(Object.entries(PRESETS).map(([id, {label}]) => [id, label])));
const steps = new NumberField('steps', 'Steps', {value: 20, max: 200});
const group = new NumberField('group', 'Answers each', {value: 8, min: 2, max: 32});
const tokens = new NumberField('tokens', 'Most tokens', {value: FIRST.maxTokens, max: 200});
const rewardPlace = make('div', {id: 'reward'});
const plot = new Plot(rewardPlace, {title: 'Mean reward', xLabel: 'step'});
const written = make('ol', {id: 'written', tabIndex: 0, ariaLabel: 'The best and worst answer of each step'});
const talk = new TalkStep({
  value: 'What is a whale? Be brief.',
  hasAdapter,
  answer: (asked, learned) => engine.write(asked, learned, tokens.value),
  stop: () => engine.stop(),
  onAnswer: showRewards,
});
const actions: ModelActions<State['course']> = new ModelActions<State['course']>(engine, store, talk.switched, []);

function showNews(news: News): void {
  switch (news.kind) {
    case 'loading':
      showLoading('model', news);
      break;
    case 'step':
      showStep({...news, loss: news.reward}, {measure: 'reward', decimals: 2});
      showCourse([...present!, news]);
      break;
    case 'piece':
      talk.append(news.text);
  }
}

/** Shows the training that goes on, or those that the adapter comes from. */
function showCourse(course: readonly StepNews[] | null): void {
  present = course;
  const news = course ?? store.state.course;
  plot.show(news.length === 0 ? [] : [{name: 'reward', points: news.map(({reward}, i) => ({x: i + 1, y: reward}))}]);
  if (written.childElementCount !== news.length) {
    written.replaceChildren(
      ...news
        .map(({question, best, worst}, i) =>
          make('li', {}, make('span', {}, `Step ${i + 1}: ${question}`), '\n', judged(best), '\n', judged(worst)),
        )
        .reverse(),
    );
  }
}

function judged({text, reward}: Judged): HTMLElement {
  return make('div', {}, make('b', {}, reward.toFixed(2)), ` ${shownText(text)}`);
}

/** Says below an answer what it gets for each wish. */
function showRewards(item: HTMLElement, question: string, text: string): void {
  const {wishes} = store.state;
  void engine.judge({text, question, truncated: false}, wishes).then(
    rewards => {
      const parts = rewards.map(({name, reward}) => `${name} ${reward.toFixed(2)}`);
      item.append('\n', make('span', {}, `Rewards: ${parts.join(', ')}`));
    },
    (error: unknown) => item.append('\n', make('span', {className: 'fault'}, (error as Error).message)),
  );
}

function asked(): string[] {
  return store.state.questions
    .split('\n')
    .map(question => question.trim())
    .filter(question => question !== '');
}

function countText(): string {
  const {length} = asked();
  return `${length} ${length === 1 ? 'question' : 'questions'}`;
}

/** Writes what was made into the fields. */
function fill(): void {
  const {questions: text, wishes} = store.state;
  questions.value = text;
  [json.value, avoid.value, code.value] = [wishes.json, wishes.avoid, wishes.code];
  words.input.valueAsNumber = wishes.words;
}

/** Gives the worker the adapter of the page. */
async function settle({adapter: former}: Pick<State, 'adapter'>): Promise<void> {
  const {adapter} = store.state;
  fill();
  if (adapter !== former) {
    await (adapter === null ? engine.forget() : engine.open(adapter));
    talk.switched.checked = adapter !== null;
  }
}

function usePreset(): void {
  const {questions: chosen, wishes, maxTokens} = PRESETS[preset.value]!;
  store.change('example', {questions: chosen.join('\n'), wishes});
  tokens.input.valueAsNumber = maxTokens;
  fill();
  say('The example is in the fields. Undo restores yours.');
}

async function train(): Promise<string> {
  const {wishes, course} = store.state;
  const {signal} = (stopping = new AbortController());
  showCourse(course);
  try {
    const {seconds, ...size} = await engine.learn({
      ...{questions: asked(), wishes, steps: steps.value, group: group.value, maxTokens: tokens.value},
    });
    const news = present!.slice(course.length);
    store.change('training', {adapter: await engine.file(), course: present!});
    talk.switched.checked = true;
    const quarter = Math.ceil(news.length / 4); // a step has one question, and some are harder than others
    const [first, last] = [news.slice(0, quarter), news.slice(-quarter)].map(meanReward);
    const began = `${signal.aborted ? 'Stopped after' : 'Trained for'} ${news.length} steps in ${seconds.toFixed(0)} s`;
    const change = `${first} in the first ${quarter} to ${last} in the last ${quarter}`;
    return `${began}: the mean reward went from ${change}. ${sizeText(size)}.`;
  } finally {
    showCourse(null);
  }
}

function meanReward(news: readonly StepNews[]): string {
  return (news.reduce((sum, {reward}) => sum + reward, 0) / news.length).toFixed(2);
}

function stop(): void {
  stopping.abort();
  void engine.stop();
}

async function start(): Promise<string> {
  store.set((await kept.read()) ?? {});
  fill();
  const said = await startModel(engine, hasAdapter());
  await settle({adapter: null});
  return said;
}

for (const field of [json, avoid, code, words.input]) {
  field.addEventListener('input', () =>
    store.set({wishes: {json: json.value, words: words.value, avoid: avoid.value, code: code.value}}),
  );
}
questions.addEventListener('input', () => store.set({questions: questions.value}));
for (const field of [questions, json, avoid, code, words.input]) {
  enable(field, () => !isBusy());
}
onChange(() => showCourse(present));

page(
  [
    step(
      'give',
      'What you want',
      row(labelled('Example', preset), button('Use', usePreset, {id: 'use'})),
      make('div', {className: 'wishes'}, labelled('JSON with these fields, or a JSON schema', json), words.field),
      labelled('Words to avoid', avoid),
      labelled('A JavaScript function that returns a number', code),
      help(
        'Each field that is filled in gives an answer up to 1, and all count the same; 0 words means any number. The ' +
          'function gets the answer and the question. It runs in this tab.',
        'wishes-help',
      ),
      labelled('Questions to practice on, one on each line', questions),
      liveNote('count', countText),
    ),
    trainStep(
      {
        fields: [steps.field, group.field, tokens.field],
        help: 'A step asks one question several times, and takes some seconds. Train again to go on.',
        missing: () => (asked().length > 0 ? '' : 'Training needs a question.'),
        train: () => work(train),
        stop,
      },
      rewardPlace,
      make('h3', {}, 'The best and the worst answer of each step'),
      written,
    ),
    talk.section,
    saveStep(
      {
        name: 'rewards',
        adapter: () => store.state.adapter,
        forget: () => actions.forget(),
        others: otherFormats(engine),
        about:
          'The adapter is a small file for this page and for <code>loadAdapter</code>, or in the formats of PEFT ' +
          '(Python) and llama.cpp. This browser keeps what you wrote and the adapter.',
      },
      dropZone(
        'an adapter of this page',
        {accept: '.safetensors,.gguf', more: ', or another model (.gguf)'},
        ([file]) => work(() => (file!.name.endsWith('.gguf') ? actions.openModel(file!) : actions.openAdapter(file!))),
      ),
    ),
  ],
  undoButton,
);
void work(start);
