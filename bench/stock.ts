// The process in which tfjs is as it was installed. Importing the library anywhere in here would put its kernels in
// place.
import {isBackend, useBackend} from './backend';
import type {BenchCase} from './cases/case';
import {CASES, isCaseName} from './cases/index';
import {firstLine, type Run, time} from './measure';
import {naiveLoRA} from './naive';
import {compile, forward, step} from './runs';
import type {Answer, Order} from './stockClient';

const [backend = '', name = ''] = process.argv.slice(2);
if (!isBackend(backend) || !isCaseName(name) || process.send === undefined) {
  throw new Error('This is a part of bench/run.ts, which starts it.');
}
const send = process.send.bind(process) as (answer: Answer) => void;

await useBackend(backend);
const benchCase: BenchCase = CASES[name];
const batch = benchCase.batch();
const base = await benchCase.build();
const {loss, floor} = benchCase;

/** Made when they are first asked for: what cannot be made fails there, by itself. */
const makers: Record<string, () => Promise<Run>> = {
  forward: () => Promise.resolve(forward(base, batch.xs)),
  full: async () => {
    const model = await benchCase.build();
    compile(model, loss);
    return step(model, batch);
  },
  naive: async () => {
    const model = await naiveLoRA(base, benchCase.targets(base));
    compile(model, loss);
    return step(model, batch);
  },
  ...(floor && {floor: () => Promise.resolve(floor(base, batch.xs))}),
};
const runs = new Map<string, Run>();

async function sample({run, repeats, clock}: Order): Promise<number> {
  let known = runs.get(run);
  if (known === undefined) {
    known = await makers[run]!();
    runs.set(run, known);
  }
  return time(known, repeats, clock);
}

process.on('message', (order: Order) => {
  sample(order).then(
    ms => send({ms}),
    (error: unknown) => send({error: firstLine(error)}),
  );
});
send({ready: Object.keys(makers)});
