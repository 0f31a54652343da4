import type {Verdict} from './job';
import type {Mutation} from './mutations';
import type {Outcome, Worker} from './pool';
import type {Tests} from './reach';
import {switched} from './switched';

/** How many mutants one file of tests runs at most before it is loaded anew. */
const TOGETHER = 60;

/** A mutant with the tests that may kill it. */
export interface Tried extends Mutation {
  file: string;
  id: number;
  tests: Tests;
}

/** A mutant whose tests run: those of `left` are still to do. */
interface Pending {
  mutant: Tried;
  left: [path: string, names: ReadonlySet<string> | null][];
}

/** What is told of a mutant: the test that kills it, or `undefined` if it survives. */
export type Tell = (mutant: Tried, killer: string | undefined) => void;

/**
 * Runs tests of many mutants: each test file is loaded once for all whose next file it is, with the mutants in the code,
 * each behind a switch. A test that fails has to pass with the mutant switched off.
 *
 * @returns the mutants that cannot be switched, or that ended the process.
 */
export async function tryTogether(
  mutants: readonly Tried[],
  sources: ReadonlyMap<string, string>,
  workers: readonly Worker[],
  last: number,
  tell: Tell,
): Promise<Tried[]> {
  const others: Tried[] = [];
  const codes = new Map<string, string>();
  for (const file of new Set(mutants.map(mutant => mutant.file))) {
    const {code, others: unswitched} = switched(
      sources.get(file)!,
      mutants.filter(mutant => mutant.file === file),
    );
    codes.set(file, code);
    others.push(...unswitched);
  }
  let pending: Pending[] = [];
  const goOn = (one: Pending) => {
    if (one.left.length === 0) {
      tell(one.mutant, undefined);
    } else {
      pending.push(one);
    }
  };
  mutants.filter(mutant => !others.includes(mutant)).forEach(mutant => goOn({mutant, left: [...mutant.tests]}));

  const next = (): [path: string, some: Pending[]] | undefined => {
    const byPath = new Map<string, Pending[]>();
    for (const one of pending) {
      const path = one.left[0]![0];
      byPath.set(path, [...(byPath.get(path) ?? []), one]);
    }
    const [path, all] = [...byPath].sort((one, other) => other[1].length - one[1].length)[0] ?? [];
    if (path === undefined || all === undefined) {
      return undefined;
    }
    const some = all.slice(0, TOGETHER);
    pending = pending.filter(one => !some.includes(one));
    return [path, some];
  };

  const conclude = (path: string, some: readonly Pending[], verdicts: ReadonlyMap<number, Verdict>, end: Outcome) => {
    for (const one of some) {
      const verdict = verdicts.get(one.mutant.id);
      if (verdict?.result === 'failed') {
        tell(one.mutant, `${path}: ${verdict.failure.name}`);
      } else if (verdict?.result === 'passed') {
        goOn({...one, left: one.left.slice(1)});
      } else if (end.result === 'gone' && end.mutant === one.mutant.id) {
        if (/It took/.test(end.why)) {
          tell(one.mutant, `${path}: ${end.why}`);
        } else {
          others.push(one.mutant);
        }
      } else if (verdict === undefined && (verdicts.size > 0 || (end.result === 'gone' && end.mutant !== -1))) {
        pending.push(one);
      } else if (verdict?.result === 'unclear' && !verdict.isFirst) {
        pending.unshift(one); // first in the file's next run
      } else {
        others.push(one.mutant);
      }
    }
  };

  let busy = 0;
  const work = async (worker: Worker) => {
    while (Date.now() < last) {
      const job = next();
      if (job === undefined) {
        if (busy === 0) {
          return;
        }
        await new Promise(resolve => setTimeout(resolve, 200));
        continue;
      }
      busy++;
      const [path, some] = job;
      const verdicts = new Map<number, Verdict>();
      const files = new Set(some.map(({mutant}) => mutant.file));
      const end = await worker.carryOut(
        {
          tests: [[path, null]],
          codes: Object.fromEntries([...files].map(file => [file, codes.get(file)!])),
          mutants: some.map(({mutant, left}) => [mutant.id, left[0]![1] && [...left[0]![1]]]),
          isRecorded: false,
        },
        () => undefined,
        verdict => verdicts.set(verdict.id, verdict),
      );
      conclude(path, some, verdicts, end);
      busy--;
    }
  };
  await Promise.all(workers.map(work));
  return others;
}
