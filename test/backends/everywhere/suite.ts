import * as tf from '@tensorflow/tfjs';
import {type Case, type Outcome, use} from './case';
import {casesOf} from './kindCases';
import {KINDS} from './kinds';
import {modelCases, orderCases} from './modelCases';

/** Everything that has to hold on every backend. */
export const CASES: readonly Case[] = [...KINDS.flatMap(casesOf), ...modelCases];

/** What has to hold where the backend was there before the library. */
export const ORDER_CASES: readonly Case[] = orderCases;

/** Runs cases on a backend, one after the other, and reports each. */
export async function runCases(
  cases: readonly Case[],
  backend: string,
  report: (outcome: Outcome) => unknown,
): Promise<void> {
  for (const {run, ...rest} of cases) {
    await use(backend);
    tf.engine().startScope();
    try {
      await report({...rest, deviation: await run(backend)});
    } catch (error) {
      const {message, stack = ''} = error instanceof Error ? error : new Error(String(error));
      await report({...rest, error: `${message}\n${stack}`.slice(0, 1500)});
    } finally {
      await use(backend);
      tf.engine().endScope();
    }
  }
}
