import {existsSync, readFileSync, writeFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';

/** The runs in the `study.json` beside a study, none before its first. */
export function readRuns<T>(study: string): T[] {
  const file = fileBeside(study);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as T[]) : [];
}

/** Writes the runs of a study to the `study.json` beside it, one in each line. */
export function writeRuns(study: string, runs: readonly unknown[]): void {
  writeFileSync(fileBeside(study), `[\n${runs.map(run => `  ${JSON.stringify(run)}`).join(',\n')}\n]\n`);
}

function fileBeside(study: string): string {
  return fileURLToPath(new URL('study.json', study));
}
