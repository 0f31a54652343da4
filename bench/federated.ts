/**
 * How many nodes one server carries: joined nodes without training, in one process, against a stock SuperLink.
 *
 *     npm run bench -- federated [10 50 200]
 */
import {execFileSync} from 'node:child_process';
import {mkdirSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {argv} from 'node:process';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, fileHandler, saveAdapter} from 'tfjs-lora';
import {joinFederation} from 'tfjs-lora/federated';
import {installFlower, SuperLink} from '../examples/federated/flower';
import {table} from '../examples/shared/report';

const OUTPUT = fileURLToPath(new URL('../examples/federated/output/', import.meta.url));
const asked = argv.slice(2).map(Number);
const NODES = asked.length > 0 ? asked : [10, 50, 200];
const ROUNDS = 4;

/** Seconds of processor time of a process and its children, by `ps`. */
function processorTime(pid: number): number {
  const group = execFileSync('ps', ['-o', 'cputimes=', '-g', String(pid)], {encoding: 'utf8'});
  return group.split('\n').reduce((sum, seconds) => sum + Number(seconds), 0);
}

await tf.setBackend('cpu');
installFlower(line => console.log(line));
mkdirSync(OUTPUT, {recursive: true});
const base = tf.sequential({layers: [tf.layers.dense({inputShape: [256], units: 256, name: 'd'})]});
const adapter = join(OUTPUT, 'bench.safetensors');
await saveAdapter(applyLoRA(base, {rank: 8, method: 'lora-fa', seed: 1}), fileHandler(adapter));
const result = join(OUTPUT, 'bench-result.safetensors');
const rows = [['nodes', 's a round', 'server, s of processor a round', 'bytes sent a node and round']];
for (const nodes of NODES) {
  rmSync(result, {force: true});
  const link = await SuperLink.start();
  try {
    const reports: {at: number; round: number; sent: number}[] = [];
    const runs = Array.from({length: nodes}, () =>
      joinFederation({
        url: link.url,
        model: applyLoRA(base, {rank: 8, method: 'lora-fa', seed: 1}),
        train: () => ({examples: 10}),
        onRound: ({round, bytesSent}) => reports.push({at: performance.now(), round, sent: bytesSent}),
      }),
    );
    const before = processorTime(link.pid);
    const start = performance.now();
    await link.run({strategy: 'mean', rounds: ROUNDS, nodes, adapter, result, frozen: 'lora_A', evaluate: false});
    await Promise.all(runs.map(({finished}) => finished));
    const seconds = (performance.now() - start) / 1000;
    const last = (round: number) => Math.max(...reports.filter(report => report.round === round).map(({at}) => at));
    const later = reports.filter(({round}) => round > 1); // with the first go the calls before it
    rows.push([
      String(nodes),
      ((last(ROUNDS) - last(1)) / 1000 / (ROUNDS - 1)).toFixed(1),
      ((processorTime(link.pid) - before) / ROUNDS).toFixed(1),
      Math.round(later.reduce((sum, {sent}) => sum + sent, 0) / later.length).toLocaleString('en'),
    ]);
    console.log(`${nodes} nodes: ${seconds.toFixed(0)} s for ${ROUNDS} rounds, with the start of the run`);
  } finally {
    link.stop();
  }
}
console.log(`\n${table(rows)}`);
