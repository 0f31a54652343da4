// The worker that measures. What it measures decides whether it loads the library, which puts its kernels in place.

import * as tf from '@tensorflow/tfjs';
import {answerCalls} from '../../examples/shared/worker';
import {measure, PHASES, watchDevice, watchTensors} from '../launches/meter';
import {time} from '../measure';
import {startBackend} from './backend';
import {CASES} from './cases';
import type {Engine, SideName, Task, TrialNews} from './protocol';
import type {Held, Maker} from './runs';

/** What there is to run on each side. */
const MAKERS: Readonly<Record<SideName, () => Promise<Readonly<Record<string, Maker>>>>> = {
  stock: async () => (await import('./stockRuns')).makers,
  library: async () => (await import('./libraryRuns')).makers,
};

answerCalls<Engine, TrialNews>(tell => {
  const held = new Map<string, Held>();
  let makers: Readonly<Record<string, Maker>> = {};
  const make = ({name, run, examples}: Task) => makers[run]!(CASES[name], examples);
  return {
    start: async (backend, side) => {
      watchDevice();
      makers = await MAKERS[side]();
      const started = await startBackend(backend);
      if (side === 'library') {
        const {trialOf} = await import('../../src/backends/shared/tryOut');
        await trialOf(tf.backend()); // until then the library computes without its programs
      }
      return started;
    },
    titleOf: ({name, examples}) => Promise.resolve(CASES[name].title(examples)),
    count: async task => {
      const meter = watchTensors();
      let made: Held | undefined;
      try {
        made = await make(task);
        const {run} = made;
        meter.restart(); // loading a model may take more than running it
        const {phases, peakBytes} = await measure(async () => {
          await run();
          return 0;
        }, 1);
        const counts = PHASES.flatMap(phase => Object.values(phases[phase]));
        const isCard = tf.getBackend().startsWith('web');
        return {launches: isCard ? counts.reduce((sum, count) => sum + count, 0) : null, peakBytes};
      } finally {
        made?.dispose();
        meter.stop();
      }
    },
    sample: async (task, repeats) => {
      const made = held.get(task.run) ?? (await make(task));
      held.set(task.run, made);
      return time(made.run, repeats);
    },
    release: () => {
      held.forEach(({dispose}) => dispose());
      held.clear();
      return Promise.resolve();
    },
    tryOut: async (backend, wanted) => (await import('./tryOut')).tryOut(backend, wanted, tell),
  };
});
