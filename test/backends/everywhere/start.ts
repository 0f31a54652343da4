import {type Case, type Outcome, use} from './case';

/** Where the suite is started: what has to be imported to have a backend. */
export interface Place {
  loadBackends: () => Promise<unknown>;
  /** Cases for this place alone. */
  ownCases?: () => Promise<readonly Case[]>;
  report: (outcome: Outcome) => unknown;
}

/** Which comes first, the library or the backend. */
export type Order = 'libraryFirst' | 'backendFirst';

/** Runs the whole suite, or, with the backend first, what this might make a difference to. */
export async function start(backend: string, order: Order, {loadBackends, ownCases, report}: Place): Promise<void> {
  if (order === 'backendFirst') {
    await loadBackends();
    await use(backend);
  }
  const {CASES, ORDER_CASES, runCases} = await import('./suite');
  await loadBackends();
  await use(backend);
  await runCases(order === 'backendFirst' ? ORDER_CASES : [...CASES, ...((await ownCases?.()) ?? [])], backend, report);
}
