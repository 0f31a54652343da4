import * as tf from '@tensorflow/tfjs';
import {type Case, type Outcome, use} from './case';
import {graphCases} from './graphCases';
import {casesOf} from './kindCases';
import {KINDS, METHOD_KINDS} from './kinds';
import {modelCases, orderCases} from './modelCases';
import {trainingCases} from './trainingCases';
import {transformerCases} from './transformerCases';

/** A kind for each form in which layers compute. */
const FORMS = ['Dense', 'Conv2D', 'Conv2DTranspose', 'DepthwiseConv2D', 'Embedding', 'GRU', "a class of one's own"];

/** What depends on the backend, of each method and each form. The rest, and the other kinds, are tested on cpu and wasm. */
const methodCases = METHOD_KINDS.filter(({name}) => FORMS.includes(name)).flatMap(kind =>
  casesOf(kind).filter(({behaviour}) =>
    /changes nothing|of the cpu backend|of the stock layer|merged model/.test(behaviour),
  ),
);

/** Everything that has to hold on every backend. */
export const CASES: readonly Case[] = [
  ...KINDS.flatMap(casesOf),
  ...methodCases,
  ...modelCases,
  ...trainingCases,
  ...graphCases,
  ...transformerCases,
];

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
