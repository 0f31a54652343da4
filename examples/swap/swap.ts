/**
 * One base model in memory and three adapters for three styles of digits, switched, scaled, and blended at run time.
 *
 *     npm run example -- swap
 */
import {rmSync, statSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {fileHandler, progress, saveAdapter, startWasm} from 'tfjs-lora';
import {table} from '../shared/report';
import {FULL, styles, swap} from './story';

const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));

await startWasm();
const begin = Date.now();
const outcome = await swap(
  FULL,
  line => console.log(line),
  label => progress({label}),
);

const columns = ['plain', ...styles];
console.log(
  `\nAccuracy on held-out digits, %\n\n${table([
    ['adapter on the base', ...columns],
    ...Object.entries(outcome.table).map(([name, row]) => [name, ...columns.map(style => row[style]!.toFixed(1))]),
  ])}\n`,
);
console.log(`One batch of all four styles, each digit with its own adapter: ${outcome.mixed.toFixed(1)} %\n`);

rmSync(OUTPUT, {recursive: true, force: true});
await outcome.base.save(fileHandler(join(OUTPUT, 'base')));
for (const style of styles) {
  await saveAdapter(outcome.adapters[style], fileHandler(join(OUTPUT, `${style}.json`)));
}
const kilobytes = (...files: string[]) =>
  (files.reduce((sum, file) => sum + statSync(join(OUTPUT, file)).size, 0) / 1000).toFixed(1);
console.log(
  table([
    ['file', 'kB'],
    ['base', kilobytes('base/model.json', 'base/weights.bin')],
    ...styles.map(style => [style, kilobytes(`${style}.json`, `${style}.weights.bin`)]),
  ]),
);
console.log(`\n${((Date.now() - begin) / 1000).toFixed(0)} s. The files are in ${OUTPUT}`);
