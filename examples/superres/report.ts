import {readdirSync, statSync} from 'node:fs';
import {dirname, join} from 'node:path';
import type * as tf from '@tensorflow/tfjs';

const WIDTH = 30;

/** Callbacks for `fit` that keep one line of the terminal up to date, or write the last one where there is no terminal. */
export function progressBar(label: string, steps: number): tf.CustomCallbackArgs {
  const start = Date.now();
  let step = 0;
  return {
    onBatchEnd: () => {
      step++;
      if (!process.stdout.isTTY && step < steps) {
        return;
      }
      const bar = '█'.repeat(Math.round((WIDTH * step) / steps)).padEnd(WIDTH, '░');
      const seconds = Math.round((Date.now() - start) / 1000);
      process.stdout.write(`\r${label.padEnd(18)}${bar} ${step}/${steps} steps, ${seconds} s`);
    },
    onTrainEnd: () => {
      process.stdout.write('\n');
    },
  };
}

/** Rows of text as aligned columns, the first to the left and the others to the right. */
export function table(rows: string[][]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)));
  const lines = rows.map(row =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join('   '),
  );
  lines.splice(1, 0, '─'.repeat(lines[0]!.length));
  return lines.join('\n');
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
