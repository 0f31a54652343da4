// The controls and the tables of the page, in the repository's own and in that of the documentation.

import './panel.css';
import {make} from '../../examples/shared/dom';
import {download} from '../../examples/shared/files';
import {measureDevice, type Wish} from './measureDevice';
import {
  BACKENDS,
  type BackendName,
  CASE_NAMES,
  type CaseName,
  RUN_NAMES,
  type RunName,
  type TrialOutcome,
} from './protocol';
import {
  type BackendResult,
  type CaseResult,
  cellsOf,
  COLUMNS,
  deviationsOf,
  factsOf,
  markdownOf,
  type Result,
  RUN_TITLES,
  summaryOf,
  verdictOf,
} from './result';

const CASE_TITLES: Readonly<Record<CaseName, string>> = {
  mlp: 'MLP',
  conv: 'conv net',
  mobilenet: 'MobileNetV2',
  superres: 'super-resolution',
  transformer: 'transformer block',
};

const RUN_WORDS: Readonly<Record<RunName, string>> = {predict: 'predict', lora: 'LoRA step', full: 'full step'};

const ROUNDS = 9;

/** A group of boxes to check, and which are checked. */
function choice<Name extends string>(
  legend: string,
  names: readonly Name[],
  checked: readonly string[],
  titleOf: (name: Name) => string = name => name,
): {group: HTMLElement; chosen: () => Name[]} {
  const boxes = names.map(name => make('input', {type: 'checkbox', name, checked: checked.includes(name)}));
  const labels = boxes.map((box, i) => make('label', {}, box, titleOf(names[i]!)));
  const group = make('fieldset', {}, make('legend', {textContent: legend}), ...labels);
  return {group, chosen: () => names.filter((_, i) => boxes[i]!.checked)};
}

/** A table of a backend, which can be moved sideways where it is wider than the page. */
function table(
  backend: string,
  title: string,
  header: readonly string[],
  rows: readonly (readonly (Node | string)[])[],
): HTMLElement {
  const head = header.map((text, i) => make('th', {scope: 'col', textContent: text, className: i > 0 ? 'figure' : ''}));
  const body = rows.map(([first, ...cells]) => {
    const wide = cells.length === 1 ? header.length - 1 : 1;
    const others = cells.map(cell => make('td', {colSpan: wide, className: wide > 1 ? '' : 'figure'}, cell));
    return make('tr', {}, make('th', {scope: 'row'}, first!), ...others);
  });
  const whole = make('table', {}, make('thead', {}, make('tr', {}, ...head)), make('tbody', {}, ...body));
  const frame = make('div', {className: 'measure-table', tabIndex: 0}, whole);
  frame.setAttribute('role', 'region');
  frame.setAttribute('aria-label', `${backend}: ${title}`);
  return make('div', {}, make('p', {className: 'measure-title', textContent: title}), frame);
}

function caseTable(backend: string, {title, runs}: CaseResult): HTMLElement {
  const rows = runs.map(run => {
    const cells = cellsOf(run);
    const shown = typeof cells === 'string' ? [make('span', {className: 'fault', textContent: cells})] : cells;
    return [RUN_TITLES[run.run] ?? run.run, ...shown];
  });
  return table(backend, title, ['run', ...COLUMNS], rows);
}

const VERDICTS = {
  right: 'right',
  wrong: 'wrong by the library’s code',
  'tfjs wrong': 'wrong by tfjs too',
  throws: 'throws',
} as const;

function trialRow(outcome: TrialOutcome): (Node | string)[] {
  const verdict = verdictOf(outcome);
  const text = outcome.error === undefined ? VERDICTS[verdict] : `throws: ${outcome.error}`;
  const said = make('span', {className: verdict === 'right' ? '' : 'fault', textContent: text});
  return [outcome.name, said, ...deviationsOf(outcome)];
}

const TRIAL_HEADER = ['computation', 'result', 'the library', 'tfjs alone', 'allowed'];

function backendPart({name, error, cases, trials}: BackendResult): HTMLElement {
  const part = make('section', {className: 'card'}, make('h2', {textContent: name}));
  if (error !== undefined) {
    part.append(make('p', {className: 'fault', textContent: error}));
  }
  part.append(...cases.map(each => caseTable(name, each)));
  if (trials !== undefined) {
    const wrong = trials.outcomes.filter(outcome => verdictOf(outcome) !== 'right');
    part.append(make('p', {className: wrong.length > 0 ? 'fault' : '', textContent: summaryOf(trials)}));
    if (wrong.length > 0) {
      part.append(table(name, 'Not right', TRIAL_HEADER, wrong.map(trialRow)));
    }
    const all = table(name, 'Computations', TRIAL_HEADER, trials.outcomes.map(trialRow));
    part.append(make('details', {}, make('summary', {textContent: 'All of them, with their deviations'}), all));
  }
  return part;
}

function factsPart(result: Result): HTMLElement {
  const items = factsOf(result).flatMap(([name, value]) => [
    make('dt', {textContent: name}),
    make('dd', {textContent: value}),
  ]);
  return make('section', {className: 'card'}, make('h2', {textContent: 'This device'}), make('dl', {}, ...items));
}

/** The names in the address that there are, or all. */
function named<Name extends string>(query: URLSearchParams, key: string, all: readonly Name[]): readonly Name[] {
  const given = query.get(key)?.split(',');
  return given === undefined ? all : all.filter(name => given.includes(name));
}

/**
 * Fills `place` with the controls of the measurement and, when it is measured, with what came of it. The address may
 * choose beforehand: `?backends=webgl,webgpu&cases=mlp&runs=lora&rounds=5&examples=2&trials=adam,gelu`.
 */
export function start(place: HTMLElement): void {
  const query = new URLSearchParams(location.search);
  const backends = choice<BackendName>('Backends', BACKENDS, named(query, 'backends', BACKENDS));
  const cases = choice<CaseName>('Cases', CASE_NAMES, named(query, 'cases', CASE_NAMES), name => CASE_TITLES[name]);
  const runs = choice<RunName>('Runs', RUN_NAMES, named(query, 'runs', RUN_NAMES), name => RUN_WORDS[name]);
  const rounds = make('input', {type: 'number', min: '1', max: '99', value: query.get('rounds') ?? String(ROUNDS)});
  const trials = make('input', {type: 'checkbox', checked: query.get('trials') !== 'none'});
  const measureButton = make('button', {type: 'submit', className: 'primary', textContent: 'Measure'});
  const stop = make('button', {type: 'button', textContent: 'Stop', disabled: true});
  const bar = make('progress', {max: 1, value: 0});
  bar.setAttribute('aria-label', 'Progress');
  const status = make('p', {className: 'note', textContent: 'Nothing is measured yet. It takes some minutes.'});
  status.setAttribute('role', 'status');
  const copy = make('button', {type: 'button', textContent: 'Copy as Markdown', disabled: true});
  const save = make('button', {type: 'button', textContent: 'Download as JSON', disabled: true});
  const text = make('textarea', {readOnly: true, rows: 8, spellcheck: false});
  text.setAttribute('aria-label', 'The results as Markdown');
  const box = make('details', {hidden: true}, make('summary', {textContent: 'The text'}), text);
  const results = make('div', {className: 'measure-results'});
  const form = make(
    'form',
    {className: 'card'},
    backends.group,
    cases.group,
    runs.group,
    make('label', {}, 'Rounds', rounds),
    make('label', {}, trials, 'Compare the library’s own code with tfjs’s kernels'),
    make('div', {className: 'row'}, measureButton, stop, copy, save),
    bar,
    status,
    box,
  );
  place.classList.add('measure');
  place.append(form, results);

  let latest: Result | undefined;
  let stopping = new AbortController();

  function show(result: Result): void {
    latest = result;
    text.value = markdownOf(result);
    box.hidden = false;
    copy.disabled = false;
    save.disabled = false;
    results.replaceChildren(factsPart(result), ...result.backends.map(backendPart));
  }

  async function run(wish: Wish): Promise<void> {
    measureButton.disabled = true;
    stop.disabled = false;
    status.textContent = 'Starting.';
    bar.value = 0;
    stopping = new AbortController();
    const start = performance.now();
    const listener = {
      onProgress: (share: number, doing: string) => {
        bar.value = share;
        status.textContent = `${doing} …`;
      },
      onResult: show,
    };
    try {
      const {stopped} = await measureDevice(wish, listener, stopping.signal);
      const seconds = ((performance.now() - start) / 1000).toFixed(0);
      status.textContent = stopped ? 'Stopped. What was measured until then is below.' : `Measured in ${seconds} s.`;
      bar.value = stopped ? bar.value : 1;
    } catch (error) {
      status.textContent = (error as Error).message;
    } finally {
      measureButton.disabled = false;
      stop.disabled = true;
    }
  }

  form.onsubmit = event => {
    event.preventDefault();
    const wanted = (query.get('trials') ?? '').split(',').filter(part => part !== '' && part !== 'none');
    const examples = query.get('examples');
    const wish: Wish = {
      ...{backends: backends.chosen(), cases: cases.chosen(), runs: runs.chosen(), rounds: rounds.valueAsNumber},
      ...{trials: trials.checked, wanted, ...(examples !== null && {examples: Number(examples)})},
    };
    const measures = wish.cases.length > 0 && wish.runs.length > 0;
    if (wish.backends.length === 0 || !(measures || wish.trials)) {
      status.textContent = 'Choose a backend, and a case with a run or the comparison.';
      return;
    }
    void run(wish);
  };
  stop.onclick = () => stopping.abort();
  copy.onclick = async () => {
    try {
      await navigator.clipboard.writeText(text.value);
      status.textContent = 'Copied.';
    } catch {
      box.open = true;
      text.select();
      status.textContent = 'This browser lets no page copy: copy the text below.';
    }
  };
  save.onclick = () => {
    const content = new Blob([JSON.stringify(latest, null, 1)], {type: 'application/json'});
    download({name: 'tfjs-lora-device.json', content});
  };
}
