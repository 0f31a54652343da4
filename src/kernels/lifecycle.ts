import * as tf from '@tensorflow/tfjs';

/** Marks an engine that is being watched, shared by all copies of the library in a process. */
const BRAND = Symbol.for('tfjs-lora.arrival');

/** What is used of the engine of tfjs: it starts a backend when that is set, or needed for the first time. Private in tfjs. */
interface Engine {
  initializeBackend: (backend: string) => unknown;
  [BRAND]?: true;
}

/**
 * Calls `repair` whenever a backend is about to start. By then its package has registered all of its kernels, whether it was imported before
 * this library or after; tfjs sets up the kernels that are registered when the backend is there.
 */
export function beforeBackendsStart(repair: () => void): void {
  const engine = tf.engine() as unknown as Engine;
  if (engine[BRAND] === true) {
    return;
  }
  engine[BRAND] = true;
  const start = engine.initializeBackend.bind(engine);
  engine.initializeBackend = backend => {
    repair();
    return start(backend);
  };
}
