import * as tf from '@tensorflow/tfjs';
import {type Case, type Outcome, use} from './case';
import {graphCases} from './graphCases';
import {casesOf} from './kindCases';
import {KINDS, METHOD_KINDS} from './kinds';
import {modelCases, orderCases} from './modelCases';
import {programCases} from './programCases';
import {trainingCases} from './trainingCases';
import {transformerCases} from './transformerCases';

/** A kind with a product, one with a convolution and one with a look-up. The operations of the others are these. */
const FORMS = ['Dense', 'Conv2D', 'Embedding'];

/** What depends on the backend, of each method. The rest is tested on wasm in `test/methods/everyKind.test.ts`. */
const methodCases = METHOD_KINDS.flatMap(kind =>
  casesOf(kind).filter(({behaviour}) =>
    /changes nothing|of the cpu backend|of the stock layer|merged model/.test(behaviour),
  ),
);

/**
 * Whether a case of a method is for a backend. Those that compile a shader for each operation and shape have the forms,
 * and of the other kinds the gradients with a gain and with a whole kernel: all kinds with all methods take minutes
 * there, and are made of the same operations.
 */
function isFor(backend: string, precision: Precision, {kind = '', behaviour}: Case): boolean {
  const compiles = backend.startsWith('web');
  return FORMS.includes(kind) || !compiles || (precision === 32 && /^(?:dora|loha): gradients/.test(behaviour));
}

/** Everything that has to hold on a backend. */
export function casesOn(backend: string, precision: Precision): Case[] {
  return [
    ...KINDS.flatMap(casesOf),
    ...methodCases.filter(one => isFor(backend, precision, one)),
    ...modelCases,
    ...trainingCases,
    ...programCases,
    ...graphCases,
    ...transformerCases,
  ];
}

/** What has to hold where the backend was there before the library. */
export const ORDER_CASES: readonly Case[] = orderCases;

/** How many bits the floats of a backend have. */
export type Precision = 16 | 32;

/** Runs cases on a backend, one after the other, and reports each. */
export async function runCases(
  cases: readonly Case[],
  backend: string,
  precision: Precision,
  report: (outcome: Outcome) => unknown,
): Promise<void> {
  for (const one of cases) {
    const {behaviour, kind, halfTolerance = one.tolerance} = one;
    const tolerance = precision === 16 ? halfTolerance : one.tolerance;
    if (tolerance === null) {
      continue;
    }
    const named = {behaviour, ...(kind !== undefined && {kind}), tolerance};
    await use(backend);
    tf.engine().startScope();
    try {
      await report({...named, deviation: await one.run(backend)});
    } catch (error) {
      const {message, stack = ''} = error instanceof Error ? error : new Error(String(error));
      await report({...named, error: `${message}\n${stack}`.slice(0, 600)});
    } finally {
      await use(backend);
      tf.engine().endScope();
    }
  }
}
