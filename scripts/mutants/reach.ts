import {createHash} from 'node:crypto';
import {existsSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {dirname} from 'node:path';
import process from 'node:process';
import {type FileRun, reasonOf, type Worker} from './pool';
import {type Counted, counted, type Unit} from './units';

/** The tests that reach a piece of code, by file; `null` for all tests of a file. */
export type Tests = Map<string, Set<string> | null>;

/** What a test file took, and which counters its tests ran. */
type Recorded = Omit<FileRun, 'path'>;

interface Stored {
  hashes: Record<string, string>;
  files: Record<string, Recorded>;
}

/** Which tests run which pieces of the sources. */
export class Reach {
  private readonly counted: ReadonlyMap<string, Counted>;
  private stored: Stored = {hashes: {}, files: {}};

  /** @param sources the text of each file. */
  constructor(private readonly sources: ReadonlyMap<string, string>) {
    this.counted = new Map([...sources].map(([path, text]) => [path, counted(path, text)]));
  }

  secondsOf(path: string): number {
    return this.stored.files[path]?.seconds ?? 60;
  }

  /**
   * Runs the tests that are new or have changed since `file` was written, and those that run a source that has. What other
   * tests ran is kept. Prints the test files that fail without a mutant, which are left out.
   */
  async record(file: string, testFiles: readonly string[], workers: readonly Worker[]): Promise<void> {
    const former: Stored = existsSync(file)
      ? (JSON.parse(readFileSync(file, 'utf8')) as Stored)
      : {hashes: {}, files: {}};
    const recordedFiles = Object.keys(former.files).filter(path => existsSync(path));
    const texts = new Map([
      ...this.sources,
      ...[...testFiles, ...recordedFiles].map(path => [path, readFileSync(path, 'utf8')] as const),
    ]);
    const hashes = Object.fromEntries([...texts].map(([path, text]) => [path, hashOf(text)]));
    const isSame = (path: string) => former.hashes[path] === hashes[path];
    const isCurrent = ([path, {runs}]: [string, Recorded]) => {
      return (
        texts.has(path) && isSame(path) && runs.every(({name, ran}) => name === '' || Object.keys(ran).every(isSame))
      );
    };
    this.stored = {hashes, files: Object.fromEntries(Object.entries(former.files).filter(isCurrent))};
    const left = testFiles.filter(path => this.stored.files[path] === undefined);
    const total = left.length;
    const codes = Object.fromEntries([...this.counted].map(([path, {code}]) => [path, code]));
    const save = () => {
      mkdirSync(dirname(file), {recursive: true});
      writeFileSync(file, JSON.stringify(this.stored));
    };
    const work = async (worker: Worker) => {
      for (let path = left.shift(); path !== undefined; path = left.shift()) {
        let recorded: Recorded | undefined;
        const outcome = await worker.carryOut({tests: [[path, null]], codes, isRecorded: true}, ({seconds, runs}) => {
          recorded = {seconds, runs};
        });
        if (outcome.result === 'passed' && recorded !== undefined) {
          this.stored.files[path] = recorded;
        } else {
          console.log(`${path} is left out: ${reasonOf(outcome)}`);
        }
        if (left.length % 20 === 0) {
          save();
        }
        process.stderr.write(
          `\r${total - left.length} of ${total} test files recorded${left.length === 0 ? '\n' : ''}`,
        );
      }
    };
    await Promise.all(workers.map(work));
    save();
  }

  /**
   * The tests that run the code at a place of a source, those that take least and are nearest first, up to so many
   * seconds of processor time.
   */
  testsOf(path: string, place: number, seconds: number): Tests {
    const counters = this.countersAt(path, place);
    const tests: Tests = new Map();
    for (const [file, {runs}] of Object.entries(this.stored.files)) {
      const names = runs.filter(({ran}) => [...counters].some(([source, bits]) => isAny(ran[source], bits)));
      if (names.length > 0) {
        tests.set(file, names.some(({name}) => name === '') ? null : new Set(names.map(({name}) => name)));
      }
    }
    const near = (file: string) => {
      const parts = path
        .replace(/^src\//, '')
        .replace(/\.ts$/, '')
        .split('/');
      const others = file
        .replace(/^test\//, '')
        .replace(/\.test\.ts$/, '')
        .split('/');
      return parts.findIndex((part, i) => part !== others[i]);
    };
    const taken = (file: string) => {
      const share = (tests.get(file)?.size ?? Infinity) / (this.stored.files[file]?.runs.length ?? 1);
      return 1 + this.secondsOf(file) * Math.min(1, share);
    };
    const cost = (file: string) => {
      const nearness = near(file);
      return taken(file) / (nearness < 0 ? 100 : 2 ** (2 * nearness));
    };
    let total = 0;
    return new Map(
      [...tests]
        .sort(([one], [other]) => cost(one) - cost(other))
        .filter(([file]) => (total += taken(file)) <= seconds),
    );
  }

  /** Whether a place is outside of functions. */
  runsWhenLoaded(path: string, place: number): boolean {
    return innermost(this.counted.get(path)?.units ?? [], place)?.declares !== undefined;
  }

  /** The counters of sources that tell whether a place is reached, by file. */
  private countersAt(path: string, place: number): Map<string, Set<number>> {
    const unit = innermost(this.counted.get(path)?.units ?? [], place);
    if (unit === undefined) {
      return new Map();
    }
    const all = Array.from({length: this.counted.get(path)?.counters ?? 0}, (_, i) => i);
    // What a module only does, such as registering its classes, counts for all that it declares.
    const isDone = unit.counters.length === 0 && unit.declares?.length === 0;
    const counters = new Map([[path, new Set(isDone ? all : unit.counters)]]);
    // What a module declares is used where its name is: by functions, or by what declares another name.
    const used = (unit.declares ?? []).map(name => ({name, file: path}));
    for (const {name, file} of used) {
      const isExported = this.counted
        .get(file)
        ?.statements.some(each => each.isExported && each.declares.includes(name));
      const sources = isExported === true ? [...this.counted.keys()] : [file];
      for (const source of sources) {
        const {mentions, statements} = this.counted.get(source) as Counted;
        const set = counters.get(source) ?? new Set<number>();
        mentions.get(name)?.forEach(counter => set.add(counter));
        counters.set(source, set);
        for (const {declares} of statements.filter(({names}) => names.has(name))) {
          const others = declares.filter(each => !used.some(known => known.name === each && known.file === source));
          used.push(...others.map(each => ({name: each, file: source})));
        }
      }
    }
    return counters;
  }
}

function innermost(units: readonly Unit[], place: number): Unit | undefined {
  return units
    .filter(({start, end}) => start <= place && place < end)
    .sort((one, other) => one.end - one.start - (other.end - other.start))[0];
}

function isAny(bits: string | undefined, counters: ReadonlySet<number>): boolean {
  if (bits === undefined) {
    return false;
  }
  const bytes = Buffer.from(bits, 'base64');
  return [...counters].some(counter => ((bytes[counter >> 3] ?? 0) >> (counter & 7)) & 1);
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}
