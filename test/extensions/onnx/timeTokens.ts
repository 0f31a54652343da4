// Times tokens of decoders with adapters beside their products in ONNX Runtime: part of `npm run check -- lastmile`.

import {execFileSync} from 'node:child_process';
import {rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {CACHE, install} from '../../../scripts/graphModels/cache';

/** A decoder, and files of it with inputs for an adapter. */
export interface TimedCase {
  name: string;
  file: string;
  heads: number;
  size: number;
  adapted: readonly {name: string; file: string; factors: string}[];
}

/** Times one token after 32 others, in one thread: the medians of runs that alternate. */
const PROGRAM = `
import {readFileSync} from 'node:fs';
import ort from 'onnxruntime-node';
const {file, heads, size, adapted} = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const [PAST, ROUNDS] = [32, 60];
const passes = [];
for (const {file: path, factors} of [{file}, ...adapted]) {
  const session = await ort.InferenceSession.create(path, {logSeverityLevel: 3, intraOpNumThreads: 1});
  const feeds = {};
  for (const {name} of session.inputMetadata) {
    const int64 = (values) => new ort.Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
    if (name === 'input_ids') feeds[name] = int64([42]);
    else if (name === 'position_ids') feeds[name] = int64([PAST]);
    else if (name === 'attention_mask') feeds[name] = int64(Array(PAST + 1).fill(1));
    else if (name.startsWith('past')) {
      const values = Float32Array.from({length: heads * PAST * size}, (_, i) => Math.sin(i));
      feeds[name] = new ort.Tensor('float32', values, [1, heads, PAST, size]);
    }
  }
  for (const [name, {type, dims, data}] of Object.entries(factors ? JSON.parse(readFileSync(factors, 'utf8')) : {})) {
    const bytes = Uint8Array.from(Buffer.from(data, 'hex'));
    feeds[name] = new ort.Tensor(type, new Float32Array(bytes.buffer), dims);
  }
  passes.push({times: [], run: () => session.run(feeds)});
}
for (let round = -5; round < ROUNDS; round++) {
  for (const {run, times} of passes) {
    const before = process.cpuUsage();
    await run();
    const {user, system} = process.cpuUsage(before);
    if (round >= 0) times.push(user + system);
  }
}
console.log('RESULT' + JSON.stringify(passes.map(({times}) => times.sort((a, b) => a - b)[ROUNDS >> 1] / 1000)));
`;

/** Prints the time of a token with each adapter, divided by that of the file before. */
export function timeTokens(cases: readonly TimedCase[]): void {
  install(['onnxruntime-node@1.30.0']);
  const [script, job] = [join(CACHE, 'times.mjs'), join(CACHE, 'times.json')];
  writeFileSync(script, PROGRAM);
  for (const timed of cases) {
    writeFileSync(job, JSON.stringify(timed));
    const printed = execFileSync('node', [script, job], {encoding: 'utf8', stdio: 'pipe'});
    const [base = 0, ...times] = JSON.parse(printed.split('RESULT')[1]!) as number[];
    const ratios = timed.adapted.map(({name}, i) => `${name} ${((times[i] ?? 0) / base).toFixed(3)}`).join(', ');
    console.log(
      `       ${timed.name}: ${base.toFixed(1)} ms of processor time per token; with adapters ${ratios} of it`,
    );
  }
  [script, job].forEach(path => rmSync(path));
}
