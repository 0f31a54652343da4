import * as tf from '@tensorflow/tfjs';

/** Told the name of a backend and the backend itself. */
export type BackendListener = (name: string, backend: object) => void;

/** The listeners of all copies of the library in a process, on the engine that they share. */
const LISTENERS = Symbol.for('tfjs-lora.backends');

/** The private parts of tfjs's engine that are used here. */
interface Engine {
  readonly backendName?: string | null;
  readonly backendInstance?: object | null;
  setupRegisteredKernels: () => void;
  [LISTENERS]?: Set<BackendListener>;
}

/**
 * Calls `listener` each time that a backend is set: after it has started, and before tfjs sets up the kernels that are
 * registered for it. By then the backend's package has registered all of its kernels, whether it was imported before
 * this library or after. For the backend that is set already it is called at once.
 */
export function onBackend(listener: BackendListener): void {
  const engine = tf.engine() as unknown as Engine;
  engine[LISTENERS] ??= watched(engine);
  engine[LISTENERS].add(listener);
  tell(engine, [listener]);
}

/** Has listeners told from now on, and returns the set that they are added to. */
function watched(engine: Engine): Set<BackendListener> {
  const listeners = new Set<BackendListener>();
  const setUp = engine.setupRegisteredKernels.bind(engine);
  engine.setupRegisteredKernels = () => {
    tell(engine, listeners);
    setUp();
  };
  return listeners;
}

function tell({backendName, backendInstance}: Engine, listeners: Iterable<BackendListener>): void {
  // While a backend starts, it has a name only.
  if (backendName != null && backendInstance != null) {
    for (const listener of listeners) {
      listener(backendName, backendInstance);
    }
  }
}
