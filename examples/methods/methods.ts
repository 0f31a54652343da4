/**
 * Every update method on one task, with about the same number of parameters:
 *
 *     npm run example -- methods
 *     npm run example -- methods --quick    one seed, less training
 */
import {startWasm} from 'tfjs-lora';
import {SHORT, table} from '../shared/report';
import {cut, FULL, QUICK, study} from './study';

await startWasm();
const begin = Date.now();
const isQuick = process.argv.includes('--quick');
const scale = isQuick ? QUICK : FULL;
const spread =
  scale.seeds.length === 1
    ? 'one seed'
    : `mean of ${scale.seeds.length} seeds; spread is the largest minus the smallest`;

const rows = await study(scale, line => console.log(line));
console.log(
  `\nAccuracy on rotated digits, %: ${spread}\n\n${table([
    ['method', 'mean', 'spread', 'parameters', 'ms per step', 'peak MB', 'file kB'],
    ...rows.map(row => [
      row.name,
      row.mean.toFixed(1),
      row.spread.toFixed(1),
      String(row.parameters),
      row.milliseconds.toFixed(1),
      (row.peakBytes / 1e6).toFixed(2),
      (row.fileBytes / 1000).toFixed(1),
    ]),
  ])}\n`,
);
console.log(
  `LoRA with rank 8, compressed after training\n\n${table([
    ['adapter', 'mean', 'spread', 'parameters'],
    ...(await cut(scale)).map(row => [row.name, row.mean.toFixed(1), row.spread.toFixed(1), String(row.parameters)]),
  ])}\n`,
);
console.log(`${((Date.now() - begin) / 1000).toFixed(0)} s`);
if (isQuick) {
  console.log(SHORT);
}
