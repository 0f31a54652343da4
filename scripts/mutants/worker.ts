// A process that runs tests with mutated files, one job after the other.

import {join} from 'node:path';
import process from 'node:process';
import {pathToFileURL} from 'node:url';
import {createTransformer} from '@swc/jest';
import {runCLI} from 'jest';
import type {Failure, Job, Message, TestRun, Verdict} from './job';

const ROOT = process.cwd();
/** In milliseconds; other programs may keep a test waiting. */
const PATIENCE = 60_000;

/** What the environment of the tests reads and tells, in the same process. */
interface Shared {
  codes: Map<string, string>;
  tests: Map<string, ReadonlySet<string> | null>;
  /** Mutants to switch on, with the names of their tests. */
  mutants?: (readonly [id: number, names: ReadonlySet<string> | null])[];
  failure?: Failure;
  onMutant: (id: number) => void;
  onVerdict: (verdict: Verdict) => void;
  onFile: (path: string) => void;
  onFileEnd: (path: string, seconds: number) => void;
  onRun?: (name: string, file: string, ran: Uint8Array) => void;
}

const tell = (message: Message) => process.send!(message);

/** A project of Jest's config. */
interface Project {
  displayName: string;
  transform: Record<string, [name: string, options: Parameters<typeof createTransformer>[0]]>;
}

const {href} = pathToFileURL(join(ROOT, 'jest.config.js'));
const {projects} = ((await import(href)) as {default: {projects: Project[]}}).default;
const unit = projects.find(({displayName}) => displayName === 'unit')!;
const swc = createTransformer(Object.values(unit.transform)[0]![1]);
const jestConfig = JSON.stringify({
  ...unit,
  rootDir: ROOT,
  testEnvironment: '<rootDir>/scripts/mutants/environment.cjs',
  testSequencer: '<rootDir>/scripts/mutants/sequencer.cjs',
  testRegex: '\\.test\\.ts$',
  testTimeout: PATIENCE,
  reporters: [],
});

const transforms = new Map<string, {source: string; code: string}>();

function transformed(path: string, source: string): string {
  const former = transforms.get(path);
  if (former?.source === source) {
    return former.code;
  }
  const options = {supportsStaticESM: false, instrument: false};
  const {code} = swc.process!(source, path, options as never) as {code: string};
  transforms.set(path, {source, code});
  return code;
}

let runs: TestRun[] = [];
const shared: Shared = {
  codes: new Map(),
  tests: new Map(),
  onMutant: id => tell({type: 'mutant', id}),
  onVerdict: verdict => tell({type: 'verdict', verdict}),
  onFile: path => tell({type: 'file', path}),
  onFileEnd: (path, seconds) => {
    tell({type: 'fileEnd', path, seconds, runs});
    runs = [];
  },
};
Object.assign(globalThis, {mutants: shared});

function record(name: string, file: string, counts: Uint8Array): void {
  let run = runs.find(each => each.name === name);
  if (run === undefined) {
    run = {name, ran: {}};
    runs.push(run);
  }
  const bits = Buffer.alloc(Math.ceil(counts.length / 8));
  bits.set(Buffer.from(run.ran[file] ?? '', 'base64'));
  counts.forEach((count, i) => (bits[i >> 3]! |= count << (i & 7)));
  run.ran[file] = bits.toString('base64');
}

async function carryOut({tests, codes, mutants, isRecorded}: Job): Promise<void> {
  shared.codes = new Map(
    Object.entries(codes).map(([path, code]) => [join(ROOT, path), transformed(join(ROOT, path), code)]),
  );
  shared.tests = new Map(tests.map(([path, names]) => [join(ROOT, path), names && new Set(names)]));
  shared.mutants = mutants?.map(([id, names]) => [id, names && new Set(names)]);
  shared.failure = undefined;
  shared.onRun = isRecorded ? record : undefined;
  runs = [];
  await runCLI(
    {
      ...{config: jestConfig, runInBand: true, runTestsByPath: true, silent: true, passWithNoTests: true},
      ...{_: tests.map(([path]) => join(ROOT, path)), $0: 'jest'},
    },
    [ROOT],
  );
  tell({type: 'end', failure: shared.failure, megabytes: process.memoryUsage().rss / 2 ** 20});
}

process.on('message', (job: Job) => {
  carryOut(job).catch((error: unknown) => {
    console.error(error);
    process.exit(1);
  });
});
tell({type: 'ready'});
