import {readdirSync, statSync} from 'node:fs';
import {dirname, join} from 'node:path';

/** The last line of a short version. */
export const SHORT =
  'This was the short version. It shows that everything works, but trains too little to compare methods.';

/** Rows of text in columns. The first is aligned left, the others right. */
export function table(rows: string[][]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)));
  const lines = rows.map(row =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join('   '),
  );
  lines.splice(1, 0, '─'.repeat(lines[0]!.length));
  return lines.join('\n');
}

/** A fraction as a percentage, for a table. */
export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** The share of labels that are those of the truth. */
export function shareRight(labels: ArrayLike<number>, truth: readonly number[]): number {
  return truth.filter((label, i) => label === labels[i]).length / truth.length;
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The mean and standard deviation of a share over the seeds, and the share of each. */
export function overSeeds(shares: readonly number[]): [mean: string, each: string] {
  const middle = mean(shares);
  const squares = shares.reduce((sum, share) => sum + (share - middle) ** 2, 0);
  const spread = shares.length === 1 ? '' : ` ± ${(100 * Math.sqrt(squares / (shares.length - 1))).toFixed(1)}`;
  return [percent(middle) + spread, shares.map(share => (100 * share).toFixed(1)).join(' ')];
}

/** The size of the files whose paths start with a prefix, in kB. */
export function kilobytes(prefix: string): string {
  const folder = dirname(prefix);
  const files = readdirSync(folder, {recursive: true, encoding: 'utf8'}).map(name => join(folder, name));
  const bytes = files
    .filter(file => file.startsWith(prefix))
    .map(file => statSync(file))
    .reduce((sum, stats) => sum + (stats.isFile() ? stats.size : 0), 0);
  return Math.round(bytes / 1000).toLocaleString('en');
}
