/**
 * Four clients with digits of different kinds, a Flower server, one adapter.
 *
 *     npm run example -- federated            one seed
 *     npm run example -- federated --quick    a few rounds
 *     npm run example -- federated --all      three seeds
 */
import {type ChildProcess, fork} from 'node:child_process';
import {existsSync, mkdirSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {argv} from 'node:process';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {fileHandler, loadAdapter, saveAdapter, setAdapter} from 'tfjs-lora';
import {createNodeKey, nodeKeyToText} from 'tfjs-lora/federated';
import {accuracy} from '../shared/network';
import {SHORT, table} from '../shared/report';
import {digitsOf, heldOut, pretrained} from './data';
import {installFlower, SuperLink} from './flower';
import type {Order, Word} from './node';
import {adapt, CLIENTS, learn, type Method} from './task';

const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));
const path = (name: string) => join(OUTPUT, name);
const quick = argv.includes('--quick');
const SEEDS = argv.includes('--all') ? [1, 2, 3] : [1];
const ROUNDS = quick ? 3 : 24;

/** What the clients do together, and what the server does with it. */
const ARMS: {name: string; method: Method; strategy: 'mean' | 'exact'; frozen: string}[] = [
  {name: 'LoRA-FA, mean of B', method: 'lora-fa', strategy: 'mean', frozen: 'lora_A'},
  {name: 'LoRA, sum of products at the rank', method: 'lora', strategy: 'exact', frozen: ''},
  {name: 'LoRA, mean of A and mean of B', method: 'lora', strategy: 'mean', frozen: ''},
];

const begin = performance.now();
const seconds = (from: number) => (performance.now() - from) / 1000;

await tf.setBackend('wasm');
installFlower(line => console.log(line));
const base = await pretrained();
mkdirSync(OUTPUT, {recursive: true});
await base.save(fileHandler(path('base')));
const tests = heldOut();
console.log(`The base reads ${accuracy(base, tests).toFixed(1)} % of 1,000 digits that are turned by a quarter.`);

/** An adapter that has learned nothing, as a file. */
async function fresh(method: Method, seed: number): Promise<string> {
  const file = path(`start-${method}-${seed}.safetensors`);
  const model = adapt(base, method, seed);
  await saveAdapter(model, fileHandler(file));
  return file;
}

/** What an adapter reads that one device alone trained, for as long as the federation trains. */
async function alone(client: number | 'all', method: Method, seed: number): Promise<number> {
  const model = adapt(base, method, seed);
  const digits = digitsOf(client, seed);
  for (let round = 1; round <= ROUNDS; round++) {
    await learn(model, digits, round);
  }
  return accuracy(model, tests);
}

interface Federated {
  accuracy: number;
  /** Bytes that a client sends and receives in a round, and those of the tensors that travel. */
  sent: number;
  received: number;
  tensors: number;
  seconds: number;
}

async function federated(
  link: SuperLink,
  {method, strategy, frozen}: (typeof ARMS)[number],
  seed: number,
  dieIn?: number,
): Promise<Federated> {
  const start = performance.now();
  const adapter = await fresh(method, seed);
  const result = path(`result-${method}-${strategy}-${seed}.safetensors`);
  rmSync(result, {force: true});
  const totals = {sent: 0, received: 0, rounds: 0};
  const children = new Set<ChildProcess>();
  const clients = Array.from({length: CLIENTS}, async (_, client) => {
    const key = path(`node-${client}.json`);
    if (!existsSync(key)) {
      writeFileSync(key, await nodeKeyToText(await createNodeKey()), {mode: 0o600});
    }
    const order: Order = {url: link.url, method, seed, base: path('base'), adapter, key, client};
    const [first, ...more] = client === 0 && dieIn !== undefined ? [{...order, dieIn}, order] : [order];
    for (const each of [first, ...more]) {
      await new Promise<void>((resolve, reject) => {
        const child = fork(fileURLToPath(new URL('node.ts', import.meta.url)), {execArgv: ['--import', 'tsx']});
        children.add(child);
        child.on('message', word => {
          const said = word as Word;
          if (said.said === 'over') {
            totals.sent += said.sent;
            totals.received += said.received;
            totals.rounds += said.rounds;
          }
        });
        child.on('exit', (code, signal) => {
          children.delete(child);
          if (code === 0 || (each.dieIn !== undefined && signal === 'SIGKILL')) {
            resolve();
          } else {
            reject(new Error(`Client ${client} failed.`));
          }
        });
        child.send(each);
      });
      if (each.dieIn !== undefined) {
        console.log(`  client ${client} was killed in round ${each.dieIn}, and comes back`);
      }
    }
  });
  try {
    await Promise.all([
      link.run({strategy, rounds: ROUNDS, nodes: CLIENTS, adapter, result, frozen, evaluate: false}),
      ...clients,
    ]);
  } finally {
    children.forEach(child => child.kill());
  }
  const model = adapt(base, method, seed);
  setAdapter(model, await loadAdapter(fileHandler(result)));
  return {
    accuracy: accuracy(model, tests),
    sent: totals.sent / totals.rounds,
    received: totals.received / totals.rounds,
    tensors: model.trainableWeights.reduce((sum, {shape}) => sum + 4 * tf.util.sizeFromShape(shape as number[]), 0),
    seconds: seconds(start),
  };
}

const link = await SuperLink.start();
process.on('exit', () => link.stop());
process.on('SIGINT', () => process.exit(130));
console.log(`A SuperLink of Flower answers at ${link.url} after ${seconds(begin).toFixed(0)} s.\n`);

const show = (values: number[]) => {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const spread = values.length > 1 ? ` (${Math.min(...values).toFixed(1)}–${Math.max(...values).toFixed(1)})` : '';
  return mean.toFixed(1) + spread;
};
const rows: string[][] = [['', 'accuracy, %', 'bytes sent', 'received', 'of tensors', 'seconds']];
for (const method of ['lora-fa', 'lora'] as const) {
  const best: number[] = [];
  const together: number[] = [];
  for (const seed of SEEDS) {
    const each = [];
    for (let client = 0; client < CLIENTS; client++) {
      each.push(await alone(client, method, seed));
    }
    best.push(Math.max(...each));
    together.push(await alone('all', method, seed));
  }
  const label = method === 'lora' ? 'LoRA' : 'LoRA-FA';
  rows.push([`${label}, the best client alone`, show(best), '', '', '', '']);
  rows.push([`${label}, all data in one place`, show(together), '', '', '', '']);
}
for (const [i, arm] of ARMS.slice(0, quick ? 1 : ARMS.length).entries()) {
  console.log(`${arm.name}: ${ROUNDS} rounds`);
  const outcomes: Federated[] = [];
  for (const seed of SEEDS) {
    const outcome = await federated(link, arm, seed, i === 0 && seed === SEEDS[0] ? 2 : undefined);
    console.log(`  ${outcome.accuracy.toFixed(1)} % after ${outcome.seconds.toFixed(0)} s`);
    outcomes.push(outcome);
  }
  const mean = (of: (outcome: Federated) => number) =>
    Math.round(outcomes.reduce((sum, outcome) => sum + of(outcome), 0) / outcomes.length).toLocaleString('en');
  rows.push([
    arm.name,
    show(outcomes.map(outcome => outcome.accuracy)),
    mean(({sent}) => sent),
    mean(({received}) => received),
    mean(({tensors}) => tensors),
    mean(outcome => outcome.seconds),
  ]);
}
link.stop();
console.log(`\n${table(rows)}\n`);
console.log(`Bytes are those of one client and round, signs of life included. ${seconds(begin).toFixed(0)} s in all.`);
if (quick) {
  console.log(SHORT);
}
