// Draws files of single operations, and compares what models of them compute on cpu and WASM with ONNX Runtime:
// `checkDrawn.ts [SEED [COUNT]]`. Without a seed, each run draws and prints another one.

import {execFileSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import process from 'node:process';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {peersPython} from '../../../scripts/pythonEnvironments';
import type {OnnxCase} from './cases';
import {compared, type Outcome} from './drawn';

const [seed = String(Date.now() % 2 ** 31), count = '2000'] = process.argv.slice(2);
console.log(`Drawn operations: seed ${seed}, ${count} files`);
const folder = mkdtempSync(join(tmpdir(), 'onnx-drawn-'));
const path = join(folder, 'drawn.json');
execFileSync(peersPython(), ['test/python/make_onnx_drawn.py', seed, count, path], {stdio: 'inherit'});
const cases = JSON.parse(readFileSync(path, 'utf8')) as OnnxCase[];
rmSync(folder, {recursive: true});
tf.enableProdMode();
// Outputs of integers have no gradient, which the import says of each.
console.warn = () => undefined;
for (const backend of ['cpu', 'wasm']) {
  await tf.setBackend(backend);
  const counts: Record<Outcome['result'], number> = {equal: 0, refused: 0, fault: 0};
  for (const each of cases) {
    const outcome = await compared(each);
    counts[outcome.result]++;
    if (outcome.result === 'fault') {
      console.log(`${backend}: ${each.name}: ${outcome.why}`);
      process.exitCode = 1;
    }
  }
  console.log(`${backend}: ${counts.equal} equal, ${counts.refused} refused, ${counts.fault} faults`);
}
