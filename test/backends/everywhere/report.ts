import {existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import type {Outcome} from './case';

/** What came of the suite on one backend. */
export interface Report {
  place: 'Node' | 'Chromium';
  backend: string;
  /** How to get the backend, where it is not there. */
  missing?: string;
  /** What ended the suite before its time. */
  failure?: string;
  outcomes: Outcome[];
}

/** Where the reports of the last run are, from the root of the checkout. */
export const RESULTS = 'test/backends/results/backends.json';

/** The reports of the last run, if there was one. */
export function readReports(root: string): Report[] | undefined {
  const file = join(root, RESULTS);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Report[]) : undefined;
}

/** Whether a case came out as it should. */
export function holds({deviation, tolerance}: Outcome): boolean {
  return deviation !== undefined && deviation <= tolerance;
}

/**
 * The largest deviation of each behaviour on each backend, over all kinds of layers and all methods beside LoRA, as a
 * table in Markdown.
 */
export function table(ofEach: readonly Report[]): string {
  const reports = ofEach.map(report => ({
    ...report,
    outcomes: report.outcomes.map(outcome => ({
      ...outcome,
      behaviour: outcome.behaviour.replace(/^[a-z0-9 -]+: /, 'other methods: '),
    })),
  }));
  const behaviours = new Map<string, number>();
  for (const {behaviour, tolerance} of reports.flatMap(({outcomes}) => outcomes)) {
    behaviours.set(behaviour, Math.min(tolerance, behaviours.get(behaviour) ?? Infinity));
  }
  const row = (cells: string[]) => `| ${cells.join(' | ')} |`;
  const rows = [...behaviours].map(([behaviour, tolerance]) =>
    row([behaviour, number(tolerance), ...reports.map(report => cell(report, behaviour, tolerance))]),
  );
  return [
    row(['behaviour', 'at most', ...reports.map(({place, backend}) => `${backend}, ${place}`)]),
    row(['---', '---:', ...reports.map(() => '---:')]),
    ...rows,
  ].join('\n');
}

function cell({outcomes}: Report, behaviour: string, usual: number): string {
  const found = outcomes.filter(outcome => outcome.behaviour === behaviour);
  const [first] = found;
  if (first === undefined) {
    return '–';
  }
  if (!found.every(holds)) {
    return '**fails**';
  }
  const largest = number(Math.max(...found.map(({deviation}) => deviation ?? NaN)));
  return first.tolerance === usual ? largest : `${largest} (at most ${number(first.tolerance)})`;
}

function number(value: number): string {
  return value === 0 ? '0' : value.toExponential(0).replace('e-', 'e−');
}

/** Which backends ran, which did not, and how to get those. */
export function summary(reports: readonly Report[]): string {
  const missing = new Map<string, Report[]>();
  for (const report of reports) {
    if (report.missing !== undefined) {
      missing.set(report.missing, [...(missing.get(report.missing) ?? []), report]);
    }
  }
  const names = (some: readonly Report[]) => some.map(nameOf).join(', ');
  return [
    `Backends that ran: ${names(reports.filter(report => report.missing === undefined))}.`,
    ...[...missing].map(([how, some]) => `Did not run: ${names(some)}. ${how}`),
  ].join('\n');
}

/** A backend and where it runs. */
export function nameOf({place, backend}: Report): string {
  return `${backend} in ${place}`;
}
