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

/** Seconds of processor time of a process and all that came of it, those that have ended too. */
class ProcessorTime {
  private readonly seconds = new Map<string, number>();

  constructor(private readonly root: number) {}

  /** Of each program: the server itself, and what runs the strategy. */
  read(): {server: number; strategy: number} {
    const lines = execFileSync('ps', ['-eo', 'pid=,ppid=,cputimes='], {encoding: 'utf8'}).trim().split('\n');
    const rows = lines.map(line => line.trim().split(/\s+/) as [pid: string, parent: string, seconds: string]);
    const family = new Set([String(this.root)]);
    // A child has a higher number than its parent, but where the numbers began again.
    for (const [pid, parent, seconds] of rows.sort(([a], [b]) => Number(a) - Number(b))) {
      if (family.has(parent) || family.has(pid)) {
        family.add(pid);
        this.seconds.set(pid, Number(seconds));
      }
    }
    const server = this.seconds.get(String(this.root)) ?? 0;
    return {server, strategy: [...this.seconds.values()].reduce((sum, each) => sum + each, -server)};
  }
}

/** Counts the calls of all nodes. */
let calls = 0;
const fetched = globalThis.fetch;
globalThis.fetch = (...args) => {
  calls++;
  return fetched(...args);
};

await tf.setBackend('cpu');
installFlower(line => console.log(line));
mkdirSync(OUTPUT, {recursive: true});
const base = tf.sequential({layers: [tf.layers.dense({inputShape: [256], units: 256, name: 'd'})]});
const adapter = join(OUTPUT, 'bench.safetensors');
await saveAdapter(applyLoRA(base, {rank: 8, method: 'lora-fa', seed: 1}), fileHandler(adapter));
const result = join(OUTPUT, 'bench-result.safetensors');
const rows = [
  [
    'nodes',
    's a round',
    'server, s of processor a round',
    'strategy, s of processor a round',
    'calls a node and round',
    'bytes sent a node and round',
    'received',
  ],
];
for (const nodes of NODES) {
  rmSync(result, {force: true});
  const link = await SuperLink.start();
  const time = new ProcessorTime(link.pid);
  const watch = setInterval(() => time.read(), 1000);
  try {
    const reports: {at: number; round: number; sent: number; received: number}[] = [];
    /** What was used when the last node was done with a round. */
    const marks: {at: number; calls: number; server: number; strategy: number}[] = [];
    const runs = Array.from({length: nodes}, () =>
      joinFederation({
        url: link.url,
        model: applyLoRA(base, {rank: 8, method: 'lora-fa', seed: 1}),
        train: model => {
          // Other numbers for each: what a server has already does not travel again.
          model.trainableWeights.forEach(weight =>
            tf.tidy(() => void weight.write(tf.randomNormal(weight.shape as number[]))),
          );
          return {examples: 10};
        },
        onRound: ({round, bytesSent: sent, bytesReceived: received}) => {
          const at = performance.now();
          reports.push({at, round, sent, received});
          if (reports.length % nodes === 0) {
            marks.push({at, calls, ...time.read()});
          }
        },
      }),
    );
    const start = performance.now();
    await link.run({strategy: 'mean', rounds: ROUNDS, nodes, adapter, result, frozen: 'lora_A', evaluate: false});
    await Promise.all(runs.map(({finished}) => finished));
    const seconds = (performance.now() - start) / 1000;
    const later = reports.filter(({round}) => round > 1); // with the first go the calls before it
    const mean = (of: 'sent' | 'received') =>
      Math.round(later.reduce((sum, report) => sum + report[of], 0) / later.length).toLocaleString('en');
    const [first, last] = [marks[0]!, marks.at(-1)!];
    const each = (of: 'at' | 'calls' | 'server' | 'strategy', unit = 1) =>
      ((last[of] - first[of]) / unit / (ROUNDS - 1)).toFixed(1);
    rows.push([
      String(nodes),
      each('at', 1000),
      each('server'),
      each('strategy'),
      each('calls', nodes),
      mean('sent'),
      mean('received'),
    ]);
    console.log(`${nodes} nodes: ${seconds.toFixed(0)} s for ${ROUNDS} rounds, with the start of the run`);
  } finally {
    clearInterval(watch);
    link.stop();
  }
}
console.log(`\n${table(rows)}`);
