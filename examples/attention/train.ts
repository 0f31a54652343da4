/**
 * A small transformer with a custom attention layer has learned to repeat words. LoRA teaches it to write them
 * backwards.
 *
 *     npm run example -- attention
 */
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {fileHandler, progress, startWasm, summarizeLoRA} from 'tfjs-lora';
import {kilobytes, table} from '../shared/report';
import {makeWords, write} from './data';
import {run} from './run';

const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));

await startWasm();
const start = Date.now();
const {models, scores, differenceAtStart} = await run({
  steps: {pretraining: 160, adapting: 256},
  files: {adapter: fileHandler(join(OUTPUT, 'reverse.json')), merged: fileHandler(join(OUTPUT, 'merged'))},
  progress: label => progress({label}),
});
const seconds = Math.round((Date.now() - start) / 1000);

const {trainableParameters, totalParameters} = summarizeLoRA(models.adapted);
const count = (value: number) => value.toLocaleString('en');
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const row = (label: string, model: keyof typeof models, parameters: string, file: string) => [
  label,
  percent(scores[model].repeat.accuracy),
  percent(scores[model].reverse.accuracy),
  scores[model].reverse.loss.toFixed(4),
  parameters,
  file,
];
console.log(
  `\n${table([
    ['', 'repeated', 'reversed', 'loss, reversed', 'trainable', 'file, kB'],
    row('base', 'base', '0', '–'),
    row('adapted', 'adapted', count(trainableParameters), kilobytes(join(OUTPUT, 'reverse.'))),
    row('adapter file, loaded', 'reloaded', '–', '–'),
    row('merged', 'merged', '–', kilobytes(join(OUTPUT, 'merged/'))),
  ])}`,
);
console.log(`\n${count(totalParameters - trainableParameters)} parameters in the base model; ${seconds} s in total`);
console.log(`Before training, the adapted model differed from the base by ${differenceAtStart}.`);

for (const word of makeWords(3, 9)) {
  console.log(`${word}   base: ${write(models.base, word)}   merged: ${write(models.merged, word)}`);
}
