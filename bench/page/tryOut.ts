import * as tf from '@tensorflow/tfjs';
import {loraKernels} from '../../src/backends/loraKernels';
import {trialOf, withoutOwnCode} from '../../src/backends/shared/tryOut';
import {runsMatrixPrograms} from '../../src/backends/webgl/matrixProgram';
import {elsewhere, relativeDifference} from '../../test/backends/everywhere/case';
import {firstLine} from '../measure';
import {startBackend} from './backend';
import type {BackendName, TrialNews, TrialOutcome, Trials} from './protocol';
import {type Trial, trialsOn} from './trials';

/** What the library tries out by itself before it uses code of its own. */
function atStart(backend: BackendName): Trials['atStart'] {
  const source = loraKernels();
  switch (backend) {
    case 'wasm':
      return [{name: 'the module of the library', works: source === 'module'}];
    case 'webgl':
      return [
        {name: 'programs number by number', works: source === 'programs'},
        {name: 'programs of matrices', works: runsMatrixPrograms()},
      ];
    case 'webgpu':
      return [{name: 'programs', works: source === 'programs'}];
    case 'cpu':
      return [];
  }
}

/** Runs a trial with code of the library's own and without it, and compares both with cpu. */
async function outcomeOf({name, compute, expected = compute}: Trial, tolerance: number): Promise<TrialOutcome> {
  tf.engine().startScope();
  try {
    const right = await elsewhere('cpu', expected);
    const own = relativeDifference(await compute(), right);
    const composed = relativeDifference(await withoutOwnCode(compute), right);
    return {name, tolerance, own, composed};
  } catch (error) {
    return {name, tolerance, error: firstLine(error)};
  } finally {
    tf.engine().endScope();
  }
}

/**
 * Starts a backend, and runs the trials on it.
 *
 * @param wanted parts of the names of the trials to run; none: all.
 */
export async function tryOut(
  backend: BackendName,
  wanted: readonly string[],
  tell: (news: TrialNews) => void,
): Promise<Trials> {
  // Tensors as small as these would be computed on cpu in part.
  tf.env().set('WEBGL_CPU_FORWARD', false);
  const {floatBits} = await startBackend(backend);
  if (backend === 'webgpu') {
    tf.env().set('WEBGPU_CPU_FORWARD', false);
  }
  await trialOf(tf.backend());
  const trials = trialsOn(backend).filter(
    ({name}) => wanted.length === 0 || wanted.some(part => name.toLowerCase().includes(part.toLowerCase())),
  );
  const result: Trials = {atStart: atStart(backend), source: loraKernels(), outcomes: []};
  for (const [done, trial] of trials.entries()) {
    tell({done, total: trials.length, name: trial.name});
    const tolerance = floatBits === 16 ? trial.halfTolerance : trial.tolerance;
    if (tolerance !== null) {
      result.outcomes.push(await outcomeOf(trial, tolerance));
    }
  }
  return result;
}
