import * as tf from '@tensorflow/tfjs';

/** How tfjs makes an object of a class from a config. Beyond the first two arguments it depends on the class. */
type FromConfig = (...args: unknown[]) => unknown;

/**
 * Gives a layer the name that its config says. A class whose constructor ignores its config, `constructor() { super({}); }`, gets a new
 * automatic name each time.
 */
export function named<T>(made: T, config: unknown): T {
  const {name} = (config ?? {}) as {name?: unknown};
  if (made instanceof tf.layers.Layer && typeof name === 'string' && made.name !== name) {
    made.name = name;
  }
  return made;
}

/** Runs `f`; layers that tfjs makes from their configs meanwhile have their names before they are called or built. */
export function keepingNames<T>(f: () => T): T {
  const {classNameMap} = tf.serialization.SerializationMap.getMap();
  const before = Object.entries(classNameMap);
  for (const [className, [cls, fromConfig]] of before) {
    const make = fromConfig as FromConfig;
    const makeNamed = (...args: unknown[]) => named(make(...args), args[1]);
    classNameMap[className] = [cls, makeNamed as typeof fromConfig];
  }
  try {
    return f();
  } finally {
    before.forEach(([className, entry]) => (classNameMap[className] = entry));
  }
}
