/**
 * Four clients with digits of different kinds, three processes and a tab, a Flower server, one adapter.
 *
 *     npm run example -- federated            LoRA-FA, one seed
 *     npm run example -- federated --quick    a few rounds
 *     npm run example -- federated --all      LoRA too, three seeds; what is done is kept, and not done again
 *     npm run example -- federated --noise    a server that clips updates and adds noise, kept as well
 */
import {copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {argv} from 'node:process';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {fileHandler, loadAdapter, saveAdapter, setAdapter} from 'tfjs-lora';
import {CHROMIUM} from '../../test/chromium';
import {accuracy} from '../shared/network';
import {SHORT, table} from '../shared/report';
import {openPage} from '../shared/serve';
import {type Client, keyFile, type Over, startProcess} from './clients';
import {digitsOf, heldOut, pretrained} from './data';
import {installFlower, type RunConfig, SuperLink} from './flower';
import type {Order} from './node';
import {openBrowser, startTab} from './tab';
import {adapt, CLIENTS, learn, type Method} from './task';

const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));
const path = (name: string) => join(OUTPUT, name);
const [quick, isAll, isNoise] = ['--quick', '--all', '--noise'].map(name => argv.includes(name));
const SEEDS = isAll ? [1, 2, 3] : [1];
const ROUNDS = quick ? 3 : 24;

/** What the clients do together, and what the server does with it. */
interface Arm {
  name: string;
  method: Method;
  server: Pick<RunConfig, 'strategy' | 'frozen' | 'clip' | 'noise'>;
}
const MEAN_OF_B: Arm = {name: 'LoRA-FA, mean of B', method: 'lora-fa', server: {strategy: 'mean', frozen: 'lora_A'}};
const WITH_LORA: Arm[] = [
  {name: 'LoRA, sum of products at the rank', method: 'lora', server: {strategy: 'exact', frozen: ''}},
  {name: 'LoRA, mean of A and mean of B', method: 'lora', server: {strategy: 'mean', frozen: ''}},
];
/** The largest norm of an update, and the noise in norms. */
const NOISES = ['4 0', '2 0', '1 0', '2 0.05', '2 0.1', '1 0.1', '1 0.2', '1 1'].map((pair): Arm => {
  const [clip, noise] = pair.split(' ');
  return {...MEAN_OF_B, name: `norm ${clip}, noise ${noise}`, server: {...MEAN_OF_B.server, clip, noise}};
});
const ARMS = [MEAN_OF_B, ...(isAll ? WITH_LORA : []), ...(isNoise ? NOISES : [])];

const begin = performance.now();
const seconds = (from: number) => (performance.now() - from) / 1000;

await tf.setBackend('wasm');
installFlower(line => console.log(line));
const base = await pretrained();
mkdirSync(path('page'), {recursive: true});
await base.save(fileHandler(path('base')));
await base.save(fileHandler(path('page')));
const tests = heldOut();
console.log(`Accuracy of the base model on 1,000 digits rotated by 90°: ${accuracy(base, tests).toFixed(1)} %.`);

/** What a long run keeps for the next, by names that say how it came about. */
const KEPT = path('results.json');
const isKept = isAll || isNoise;
const kept = new Map<string, unknown>(
  isKept && existsSync(KEPT) ? Object.entries(JSON.parse(readFileSync(KEPT, 'utf8')) as object) : [],
);

/** What was made under this name before, or what is made now. */
async function once<T>(name: string, make: () => Promise<T>): Promise<T> {
  const whole = `${name}, ${ROUNDS} rounds`;
  if (!kept.has(whole)) {
    kept.set(whole, await make());
    if (isKept) {
      writeFileSync(KEPT, JSON.stringify(Object.fromEntries(kept)));
    }
  }
  return kept.get(whole) as T;
}

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
    await learn(model, method, digits, {round, rounds: ROUNDS});
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

async function federated(link: SuperLink, {method, server}: Arm, seed: number, dieIn?: number): Promise<Federated> {
  const start = performance.now();
  const adapter = await fresh(method, seed);
  const result = path(`result-${method}-${server.strategy}-${seed}.safetensors`);
  rmSync(result, {force: true});
  const totals = {sent: 0, received: 0, rounds: 0};
  const add = ({sent, received, rounds}: Over) => {
    totals.sent += sent;
    totals.received += received;
    totals.rounds += rounds;
  };
  copyFileSync(adapter, path('page/start.safetensors')); // where the tab finds it
  const clients = new Set<Client>();
  const work = Array.from({length: CLIENTS}, async (_, client) => {
    if (client === CLIENTS - 1 && browser !== undefined) {
      const tab = startTab(browser, {page: page.url, client, method, seed});
      clients.add(tab);
      add(await tab.over);
      return;
    }
    const key = await keyFile(path(`node-${client}.json`));
    const order: Order = {url: link.url, method, seed, base: path('base'), adapter, key, client};
    const [first, ...more] = client === 0 && dieIn !== undefined ? [{...order, dieIn}, order] : [order];
    for (const each of [first, ...more]) {
      const started = startProcess(each);
      clients.add(started);
      add(await started.over);
      if (each.dieIn !== undefined) {
        console.log(`  client ${client} was killed in round ${each.dieIn} and restarts`);
      }
    }
  });
  try {
    await Promise.all([
      link.run({...server, rounds: ROUNDS, nodes: CLIENTS, adapter, result, evaluate: false}),
      ...work,
    ]);
  } finally {
    clients.forEach(client => client.kill());
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
process.env.FLOWER_URL = link.url;
const page = await openPage(fileURLToPath(new URL('vite.config.ts', import.meta.url)));
const browser = await openBrowser();
console.log(
  browser === undefined
    ? `There is no browser at ${CHROMIUM}: all four clients are processes.`
    : `Three clients are processes, one is a tab in ${CHROMIUM}.`,
);
console.log(`The SuperLink is ready at ${link.url} after ${seconds(begin).toFixed(0)} s.\n`);

const show = (values: number[]) => {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const spread = values.length > 1 ? ` (${Math.min(...values).toFixed(1)}–${Math.max(...values).toFixed(1)})` : '';
  return mean.toFixed(1) + spread;
};
const rows: string[][] = [['', 'accuracy, %', 'bytes sent', 'bytes received', 'tensor bytes', 'seconds']];
for (const method of new Set(ARMS.map(arm => arm.method))) {
  const best: number[] = [];
  const together: number[] = [];
  for (const seed of SEEDS) {
    const each = [];
    for (let client = 0; client < CLIENTS; client++) {
      each.push(await once(`${method} of client ${client}, seed ${seed}`, () => alone(client, method, seed)));
    }
    best.push(Math.max(...each));
    together.push(await once(`${method} of all, seed ${seed}`, () => alone('all', method, seed)));
  }
  const label = method === 'lora' ? 'LoRA' : 'LoRA-FA';
  rows.push([`${label}, the best client alone`, show(best), '', '', '', '']);
  rows.push([`${label}, all data in one place`, show(together), '', '', '', '']);
}
for (const [i, arm] of ARMS.entries()) {
  console.log(`${arm.name}: ${ROUNDS} rounds`);
  const outcomes: Federated[] = [];
  for (const seed of SEEDS) {
    const dieIn = i === 0 && seed === SEEDS[0] ? 2 : undefined;
    const outcome = await once(`${arm.name}, seed ${seed}`, () => federated(link, arm, seed, dieIn));
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
await browser?.browser()?.close();
await page.close();
console.log(`\n${table(rows)}\n`);
console.log(
  `Bytes are those of one client in one round, heartbeats included. ${seconds(begin).toFixed(0)} s in total.`,
);
if (quick) {
  console.log(SHORT);
}
