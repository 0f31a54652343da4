// Runs the suite on all backends in Chromium on wasm, with its kernels sent at once, two seconds late, and not at all:
// `run.ts [every]` runs one case in `every`. Late kernels have to change no number. Without them, each case has to hold
// with tfjs's own kernels, or to end in the error that says why.

import {setTimeout} from 'node:timers/promises';
import {argv} from 'node:process';
import {type Admission, findChromium, ServedSuite} from '../everywhere/browser';
import type {Outcome} from '../everywhere/case';
import {holds} from '../everywhere/report';

type Serving = 'at once' | 'late' | 'refused';

const SERVED: Readonly<Record<Serving, Admission>> = {
  'at once': () => Promise.resolve(true),
  late: () => setTimeout(2000).then(() => true),
  refused: () => Promise.resolve(false),
};
/** Kernels for wasm, those of extensions too. */
const KERNELS = /\/(?:wasmPart|kernels)-/;
/** Of a model, or of one of the files that a case reads. */
const REFUSAL = /^(?:[\w ]+: )?The training kernels for wasm could not be loaded\. /;
/** What is about the kernels themselves, and about clones, which tfjs copies on wasm. */
const OF_KERNELS = [
  'adapting allocates memory only for the factors',
  'fused programs run on webgpu and webgl',
  'several threads compute the same bits as one with relaxed SIMD',
];
const PATIENCE = 20 * 60_000;

const every = Number(argv[2] ?? 1);
const chromium = findChromium();
if (chromium === undefined) {
  throw new Error('Install Chromium (Debian: apt-get install chromium), or set CHROMIUM to its path.');
}
let admit = SERVED['at once'];
const suite = await ServedSuite.start(chromium, path => (KERNELS.test(path) ? admit(path) : Promise.resolve(true)));

async function outcomesOf(serving: Serving): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  admit = SERVED[serving];
  await suite.run('wasm', ['libraryFirst', 'backendFirst'], each => outcomes.push(each), PATIENCE, every);
  return outcomes;
}

const nameOf = ({kind = 'a model', behaviour}: Outcome) => `${kind}: ${behaviour}`;
const resultOf = ({deviation, error}: Outcome) => (error === undefined ? `off by ${deviation}` : error);
const isRefused = ({error = ''}: Outcome) => REFUSAL.test(error);

const atOnce = await outcomesOf('at once');
const late = await outcomesOf('late');
const refused = await outcomesOf('refused');
suite.close();

const others = late.filter((outcome, i) => resultOf(outcome) !== resultOf(atOnce[i] ?? outcome));
const faults = [
  ...atOnce.filter(outcome => !holds(outcome)).map(outcome => ['at once', outcome] as const),
  ...others.map(outcome => ['late', outcome] as const),
  ...refused
    .filter(outcome => !holds(outcome) && !isRefused(outcome) && !OF_KERNELS.includes(outcome.behaviour))
    .map(outcome => ['refused', outcome] as const),
];
console.log(
  `${atOnce.length} cases. With late kernels, ${late.length - others.length} have the same numbers. Without kernels, ` +
    `${refused.filter(holds).length} hold, and ${refused.filter(isRefused).length} are refused.`,
);
faults.forEach(([serving, outcome]) => {
  console.error(`${serving}: ${nameOf(outcome)}: ${resultOf(outcome)}`);
});
const isWhole = [late, refused].every(({length}) => length === atOnce.length) && refused.some(isRefused);
if (faults.length > 0 || !isWhole) {
  process.exitCode = 1;
}
