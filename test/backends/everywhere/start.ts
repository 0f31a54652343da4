import * as tf from '@tensorflow/tfjs';
import {type Case, type Outcome, use} from './case';

/** Where the suite is started: what has to be imported to have a backend. */
export interface Place {
  site: 'Node' | 'Chromium';
  loadBackends: () => Promise<unknown>;
  /** Cases for this place alone. */
  ownCases?: () => Promise<readonly Case[]>;
  report: (outcome: Outcome) => unknown;
  /** Runs one case in so many. Default: all of them. */
  every?: number;
}

/** Which comes first, the library or the backend. */
export type Order = 'libraryFirst' | 'backendFirst';

/** The name here of webgl with 16-bit floats. */
export const HALF_WEBGL = 'webgl-float16';

/** Runs the whole suite, or, with the backend first, what this might make a difference to. */
export async function start(name: string, order: Order, place: Place): Promise<void> {
  const {site, loadBackends, ownCases, report, every = 1} = place;
  const [backend, precision] = name === HALF_WEBGL ? (['webgl', 16] as const) : ([name, 32] as const);
  if (order === 'backendFirst') {
    await loadBackends();
    await use(backend);
  }
  const {casesOn, ORDER_CASES, runCases} = await import('./suite');
  const {trialOf} = await import('../../../src/backends/shared/tryOut');
  await loadBackends();
  await use(backend);
  await trialOf(tf.backend());
  await tf.ready();
  const cases = order === 'backendFirst' ? ORDER_CASES : casesOn(backend, precision, site, (await ownCases?.()) ?? []);
  await runCases(
    cases.filter((_, i) => i % every === 0),
    backend,
    precision,
    report,
  );
}
