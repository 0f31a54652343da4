// A process with the wasm backend on a number of threads, of which `run.ts` starts several that take turns.

import {openAsBlob} from 'node:fs';
import {setTimeout as sleep} from 'node:timers/promises';
import {adam, applyLoRA} from 'tfjs-lora';
import {smollm2} from '../../scripts/pretrained';
import {useBackend} from '../backend';
import type {BenchCase} from '../cases/case';
import {CASES} from '../cases/index';
import {firstLine, type Run, time} from '../measure';
import {compile, forward, LEARNING_RATE, step} from '../runs';
import {languageRuns, ownBlock} from './models';
import {splitRun} from './parts';
import type {Answer, Order, RunName} from './protocol';

const threads = Number(process.argv[2]);
if (process.send === undefined) {
  throw new Error('This is a part of bench/threads/run.ts, which starts it.');
}
const send = process.send.bind(process) as (answer: Answer) => void;
await useBackend('wasm', threads);

async function runsOf({build, batch, targets, loss}: BenchCase): Promise<{predict: Run; step: Run}> {
  const base = await build();
  const data = batch();
  const adapted = applyLoRA(base, targets(base));
  compile(adapted, loss, adam({learningRate: LEARNING_RATE}));
  return {predict: forward(base, data.xs), step: step(adapted, data)};
}

/** Models, made when one of their runs is first asked for. */
const makers: Record<string, () => Promise<Record<string, Run>>> = {
  MLP: () => runsOf(CASES.mlp),
  'conv net': () => runsOf(CASES.conv),
  MobileNetV2: () => runsOf(CASES.mobilenet),
  'transformer block': () => runsOf(CASES.transformer),
  'block of our layers': () => runsOf({...CASES.transformer, build: () => Promise.resolve(ownBlock())}),
  'SmolLM2-135M': async () => languageRuns(await openAsBlob(smollm2())),
};
const made = new Map<string, Promise<Record<string, Run>>>();

async function runOf(name: RunName): Promise<Run> {
  const [model = '', kind = ''] = name.split(', ');
  const runs = made.get(model) ?? makers[model]!();
  made.set(model, runs);
  return (await runs)[kind]!;
}

async function answerTo(order: Order): Promise<Answer> {
  if ('idleSeconds' in order) {
    const before = process.cpuUsage();
    await sleep(1000 * order.idleSeconds);
    const {user, system} = process.cpuUsage(before);
    return {ms: (user + system) / 1000};
  }
  const run = await runOf(order.run);
  return 'split' in order
    ? {split: await splitRun(run, order.split, order.repeats, order.clock)}
    : {ms: await time(run, order.repeats)};
}

process.on('message', (order: Order) => {
  answerTo(order).then(send, (error: unknown) => send({error: firstLine(error)}));
});
send({ready: true});
