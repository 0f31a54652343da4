// What the page found out, as data and as text.

import type {Summary} from '../measure';
import type {Device} from './device';
import type {BackendName, CaseName, Counts, Started, TrialOutcome, Trials} from './protocol';

/** What was measured of one run of a case. */
export interface RunResult extends Partial<Counts> {
  run: string;
  /** Milliseconds in each round; `null` for those that a slow run sat out. */
  samples?: (number | null)[];
  ms?: Summary;
  /** How many times as long as `predict` of plain tfjs it took, in the same rounds. */
  toPredict?: Summary;
  /** The same of a full step on the library's kernels. */
  toFull?: Summary;
  error?: string;
}

export interface CaseResult {
  name: CaseName;
  title: string;
  runs: RunResult[];
}

export interface BackendResult {
  name: BackendName;
  /** Why it was not measured to the end. */
  error?: string;
  started?: Started;
  cases: CaseResult[];
  trials?: Trials;
}

/** All that is measured in a visit. */
export interface Result {
  /** Changes when the form of the file does. */
  format: 1;
  library: string;
  date: string;
  device: Device;
  rounds: number;
  stopped: boolean;
  backends: BackendResult[];
}

/** What the names of runs stand for, in the order in which they are shown. */
export const RUN_TITLES: Readonly<Record<string, string>> = {
  'stock predict': 'predict, plain tfjs',
  predict: 'predict, with the library',
  lora: 'LoRA step',
  full: 'full step, with the library',
  'stock full': 'full step, plain tfjs',
};

/** The columns behind the name of a run. */
export const COLUMNS = ['ms', '÷ predict', '÷ full step', 'launches', 'peak MB'] as const;

/** A row of numbers, or what was in their way. */
export function cellsOf({ms, toPredict, toFull, launches, peakBytes, error}: RunResult): string[] | string {
  if (error !== undefined) {
    return error;
  }
  const text = (value: number | null | undefined, digits: number) => (value == null ? '–' : value.toFixed(digits));
  return [
    text(ms?.median, 1),
    text(toPredict?.median, 2),
    text(toFull?.median, 2),
    text(launches, 0),
    text(peakBytes === undefined ? undefined : peakBytes / 2 ** 20, 1),
  ];
}

/** Whether the library's own code computes something wrongly, or tfjs's kernels do too. */
export function verdictOf({
  tolerance,
  own,
  composed,
  error,
}: TrialOutcome): 'right' | 'wrong' | 'tfjs wrong' | 'throws' {
  if (error !== undefined || own === undefined || composed === undefined) {
    return 'throws';
  }
  return own <= tolerance ? 'right' : composed <= tolerance ? 'wrong' : 'tfjs wrong';
}

/** The facts about where it was measured, by their names. */
export function factsOf({library, date, device, rounds, stopped, backends}: Result): [name: string, value: string][] {
  const {browser, cores, memory, webgl, webgpu, isolated} = device;
  const tfjs = backends.find(({started}) => started !== undefined)?.started?.tfjs;
  const wasm = backends.find(({name}) => name === 'wasm')?.started;
  const floats = backends.find(({name}) => name === 'webgl')?.started?.floatBits;
  const ofWasm = [
    ...(wasm ? [wasm.simd ? 'SIMD' : 'no SIMD', `${wasm.threads} ${wasm.threads === 1 ? 'thread' : 'threads'}`] : []),
    isolated ? 'in a page that may have threads' : 'in a page that may have none',
  ];
  return [
    ['tfjs-lora', library],
    ...(tfjs === undefined ? [] : [['tfjs', tfjs] satisfies [string, string]]),
    ['date', date],
    ['browser', browser],
    ['cores', `${cores}${memory === undefined ? '' : `, ${memory} GB or more`}`],
    ['wasm', ofWasm.join(', ')],
    ['WebGL', `${webgl ?? 'not there'}${floats === 16 ? ', 16-bit floats' : ''}`],
    ['WebGPU', webgpu ?? 'not there'],
    ['rounds', `${rounds}${stopped ? ', stopped before the end' : ''}`],
  ];
}

/** In one line, what came of the trials. */
export function summaryOf({atStart, source, outcomes}: Trials): string {
  const right = outcomes.filter(outcome => verdictOf(outcome) === 'right').length;
  const refused = atStart.filter(({works}) => !works).map(({name}) => name);
  const used = refused.length === 0 ? '' : `, and tfjs's kernels take the place of ${refused.join(' and ')}`;
  return `${right} of ${outcomes.length} computations are right. A step is computed by: ${source}${used}.`;
}

/** The deviations of an outcome, as they are shown. */
export function deviationsOf({own, composed, tolerance}: TrialOutcome): [own: string, composed: string, limit: string] {
  const text = (value: number | undefined) => (value === undefined ? '–' : value === 0 ? '0' : value.toExponential(1));
  return [text(own), text(composed), text(tolerance)];
}

function tableOf(rows: readonly (readonly string[])[]): string {
  const [header = [], ...others] = rows.map(row => row.map(cell => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')));
  const rule = header.map((_, i) => (i === 0 ? '---' : '---:'));
  return [header, rule, ...others].map(row => `| ${row.join(' | ')} |`).join('\n');
}

/** All of it as text for an issue of the repository. */
export function markdownOf(result: Result): string {
  const parts = [tableOf([['measured', 'by tfjs-lora'], ...factsOf(result)])];
  for (const {name, error, cases, trials} of result.backends) {
    parts.push(`### ${name}`, ...(error === undefined ? [] : [error]));
    for (const {title, runs} of cases) {
      const rows = runs.map(run => {
        const cells = cellsOf(run);
        const given = typeof cells === 'string' ? [cells, ...COLUMNS.slice(1).map(() => '')] : cells;
        return [RUN_TITLES[run.run] ?? run.run, ...given];
      });
      parts.push(tableOf([[title, ...COLUMNS], ...rows]));
    }
    if (trials !== undefined) {
      parts.push(summaryOf(trials));
      const wrong = trials.outcomes.filter(outcome => verdictOf(outcome) !== 'right');
      const rows = wrong.map(each => [each.name, each.error ?? verdictOf(each), ...deviationsOf(each)]);
      if (rows.length > 0) {
        parts.push(tableOf([['not right', 'what', 'the library', 'tfjs alone', 'allowed'], ...rows]));
      }
    }
  }
  return `${parts.join('\n\n')}\n`;
}
