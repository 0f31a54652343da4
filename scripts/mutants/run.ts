// Changes lines of the sources one at a time, and tells how many of these mutants the tests kill that run in Node, in
// their own process, or the compiler:
// `run.ts [--count N] [--seed N] [--hours N] [--processes N] [--only PATH,…] [--lines FILE:LINE,…] [--tests PATH,…]`.
// With `--only`, the lines are those of these files and folders. `--seconds` bounds what the tests of a mutant may take
// without it: those that are farthest are left out, so that fewer mutants are killed. The tree is not changed. Mutants
// that no test can kill are in `equivalent.json`.

import {readdirSync, readFileSync} from 'node:fs';
import {availableParallelism} from 'node:os';
import {dirname, join} from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {randomNumbers} from '../../src/platform/formats/randomNumbers';
import {type Tell, type Tried, tryTogether} from './batches';
import {type Mutation, mutated, mutationsOf} from './mutations';
import {Worker} from './pool';
import {Reach, type Tests} from './reach';
import {compiling} from './types';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const RECORD = join(ROOT, 'node_modules/.cache/tfjs-lora/mutants.json');
/** The share of mutants that the tests have to kill: the check fails where the interval lies below it. */
const GOAL = 0.95;

const {values} = parseArgs({
  options: {
    count: {type: 'string', default: '200'},
    hours: {type: 'string', default: '2'},
    lines: {type: 'string', default: ''},
    only: {type: 'string', default: 'src'},
    processes: {type: 'string', default: String(Math.min(2, availableParallelism()))},
    record: {type: 'string', default: RECORD},
    seconds: {type: 'string', default: '300'},
    seed: {type: 'string', default: String(Date.now() % 2 ** 31)},
    tests: {type: 'string', default: 'test'},
  },
});

/**
 * A mutant that no test can kill, by the text of its line, so that it is known when others move it; those of a file
 * whose changes are of a pattern; or all of a file that tests in Node do not reach.
 */
interface Equivalent {
  file: string;
  line?: string;
  change?: string;
  pattern?: string;
  reason: string;
}

interface Mutant extends Mutation {
  file: string;
}

/** The files of TypeScript in a folder, at any depth. */
function filesIn(folder: string): string[] {
  const names = readdirSync(folder, {recursive: true}) as string[];
  return names.filter(name => name.endsWith('.ts')).map(name => `${folder}/${name}`).sort(); // prettier-ignore
}

process.chdir(ROOT);
const start = Date.now();
const equivalents = JSON.parse(readFileSync(join(ROOT, 'scripts/mutants/equivalent.json'), 'utf8')) as Equivalent[];
const sources = new Map(
  [...filesIn('src/core'), ...filesIn('src/platform')].map(file => [file, readFileSync(file, 'utf8')]),
);
const textOf = ({file, line}: Mutant) => (sources.get(file) as string).split('\n')[line - 1]!.trim();

/** Mutants of different lines, in a random order; with lines, all of theirs. */
function drawn(seed: number, lines: readonly string[]): Mutant[] {
  const byLine = new Map<string, Mutant[]>();
  const only = values.only.split(',');
  for (const [file, text] of [...sources].filter(([path]) => only.some(part => path.startsWith(part)))) {
    for (const mutation of mutationsOf(file, text)) {
      const line = `${file}:${mutation.line}`;
      byLine.set(line, [...(byLine.get(line) ?? []), {...mutation, file}]);
    }
  }
  if (lines.length > 0) {
    return lines.flatMap(line => byLine.get(line) ?? []);
  }
  const next = randomNumbers(seed, 0);
  const groups = [...byLine.values()];
  console.log(`${groups.length} lines can be changed, in ${groups.flat().length} ways.`);
  for (let i = groups.length - 1; i > 0; i--) {
    const j = next() % (i + 1);
    [groups[i], groups[j]] = [groups[j]!, groups[i]!];
  }
  return groups.map(group => group[next() % group.length]!);
}

/** What a mutant comes to: the test that kills it, or `undefined` if it survives. */
async function killerOf(mutant: Mutant, tests: Tests, worker: Worker): Promise<string | undefined> {
  const codes = {[mutant.file]: mutated(sources.get(mutant.file)!, mutant)};
  let left = [...tests].map(([path, names]) => [path, names && [...names]] as const);
  for (let crashes = 0; left.length > 0;) {
    const outcome = await worker.carryOut({tests: left, codes, isRecorded: false});
    if (outcome.result === 'passed') {
      return undefined;
    }
    const path = outcome.result === 'failed' ? outcome.failure.path : outcome.path;
    // Other programs may have kept it waiting, or taken the memory, and a test may need others that were left out: then
    // it fails without the mutant too, or not again.
    const control = await worker.carryOut({tests: left.filter(test => test[0] === path), codes: {}, isRecorded: false});
    if (
      control.result === 'passed' &&
      (outcome.result === 'failed' || /It took/.test(outcome.why) || ++crashes === 2)
    ) {
      return `${path}: ${outcome.result === 'failed' ? outcome.failure.name : outcome.why}`;
    }
    left = control.result === 'passed' ? left : left.filter(test => test[0] !== path);
  }
  return undefined;
}

/** Wilson's interval of 95 % for a share. */
function interval(count: number, total: number): [low: number, high: number] {
  const z = 1.96;
  const share = count / total;
  const center = (share + z ** 2 / (2 * total)) / (1 + z ** 2 / total);
  const radius = (z / (1 + z ** 2 / total)) * Math.sqrt((share * (1 - share)) / total + z ** 2 / (4 * total ** 2));
  return [center - radius, center + radius];
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

console.log(`--seed ${values.seed} --count ${values.count}`);
const lines = values.lines === '' ? [] : values.lines.split(',');
const mutants = drawn(Number(values.seed), lines);
const reach = new Reach(sources);
const workers = Array.from({length: Number(values.processes)}, () => new Worker(ROOT, path => reach.secondsOf(path)));
const testFiles = values.tests
  .split(',')
  .flatMap(folder => (folder.endsWith('.ts') ? [folder] : filesIn(folder)))
  .filter(
    path => /\/[^./]+\.test\.ts$/.test(path) || /^test\/(?:core|platform)\/.*\.(?:slow|process)\.test\.ts$/.test(path),
  );
await reach.record(values.record, testFiles, workers);

const count = lines.length > 0 ? mutants.length : Number(values.count);
const last = start + Number(values.hours) * 3_600_000;
const survivors: Mutant[] = [];
const equivalentOf = (mutant: Mutant) => {
  return equivalents.find(({file, line, change, pattern}) => {
    return (
      file === mutant.file &&
      (line === undefined || (line === textOf(mutant) && change === mutant.change)) &&
      (pattern === undefined || new RegExp(pattern).test(mutant.change))
    );
  });
};
const counted: Mutant[] = [];
const leftOut: string[] = [];
for (const mutant of mutants) {
  const equivalent = equivalentOf(mutant);
  if (counted.length === count) {
    break;
  }
  if (equivalent === undefined) {
    counted.push(mutant);
  } else {
    leftOut.push(`${mutant.file}:${mutant.line} ${mutant.change}: ${equivalent.reason}`);
  }
}
const compile = compiling(ROOT, sources, counted);
const tried = counted
  .filter(mutant => compile.has(mutant))
  .map((mutant, id) => ({...mutant, id, tests: reach.testsOf(mutant.file, mutant.start, Number(values.seconds))}));
console.log(`The compiler refuses ${counted.length - tried.length} of ${counted.length}.`);
let done = 0;
const tell: Tell = (mutant, killer) => {
  done++;
  if (killer === undefined) {
    survivors.push(mutant);
  }
  const what = killer === undefined ? `SURVIVES ${mutant.tests.size} test files` : `killed by ${killer}`;
  console.log(`${done} ${mutant.file}:${mutant.line} ${mutant.change}\n    ${what}`);
};
const isAtOnce = ({file, start: place}: Mutant) => reach.runsWhenLoaded(file, place);
// What a module computes once, such as a table, runs in the first test that needs it, and stays for other mutants: so a
// mutant that survives beside others is tried alone too. It is tried by whole files of tests, since some tests need
// those before them.
const alone: Tried[] = tried.filter(isAtOnce);
const byWholeFiles = (mutant: Tried): Tried => ({
  ...mutant,
  tests: new Map([...mutant.tests.keys()].map(path => [path, null])),
});
const tellKilled: Tell = (mutant, killer) => {
  if (killer === undefined) {
    alone.push(byWholeFiles(mutant));
  } else {
    tell(mutant, killer);
  }
};
const undecided = await tryTogether(tried.filter(mutant => !isAtOnce(mutant)), sources, workers, last, tellKilled); // prettier-ignore
alone.unshift(...undecided.map(byWholeFiles));
const work = async (worker: Worker) => {
  while (Date.now() < last) {
    const mutant = alone.shift();
    if (mutant === undefined) {
      return;
    }
    tell(mutant, await killerOf(mutant, mutant.tests, worker));
  }
};
await Promise.all(workers.map(work));
workers.forEach(worker => worker.stop());

const total = counted.length;
const [late, refused] = [tried.length - done, total - tried.length];
const killed = done - survivors.length + refused;
const [, high] = interval(killed, total);
const shareOf = (count: number, all: number) => {
  const [least, most] = interval(count, all);
  return `${count} of ${all}, ${percent(count / all)} (95 % interval: ${percent(least)} to ${percent(most)})`;
};
console.log(`\nSeed ${values.seed}: killed by the compiler or a test: ${shareOf(killed, total)}.`);
console.log(`The compiler refuses ${refused}. Tests kill of the others: ${shareOf(killed - refused, tried.length)}.`);
console.log(`${late} did not end in time, and count as alive. ${leftOut.length} that no test can kill were left out:`);
leftOut.forEach(line => console.log(`left out: ${line}`));
survivors.forEach(mutant => console.log(`survives: ${mutant.file}:${mutant.line} ${mutant.change}`));
process.exitCode = high < GOAL ? 1 : 0;
