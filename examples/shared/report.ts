import {readdirSync, statSync} from 'node:fs';
import {dirname, join} from 'node:path';

/** What a short form says behind its tables. */
export const SHORT =
  'This was the short version. It shows that everything works, but trains too little to compare methods.';

/** Rows of text as aligned columns, the first to the left and the others to the right. */
export function table(rows: string[][]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)));
  const lines = rows.map(row =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join('   '),
  );
  lines.splice(1, 0, '─'.repeat(lines[0]!.length));
  return lines.join('\n');
}

/** A share, for a table. */
export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The kilobytes of the files whose paths start like this. */
export function kilobytes(prefix: string): string {
  const folder = dirname(prefix);
  const files = readdirSync(folder, {recursive: true, encoding: 'utf8'}).map(name => join(folder, name));
  const bytes = files
    .filter(file => file.startsWith(prefix))
    .map(file => statSync(file))
    .reduce((sum, stats) => sum + (stats.isFile() ? stats.size : 0), 0);
  return Math.round(bytes / 1000).toLocaleString('en');
}
