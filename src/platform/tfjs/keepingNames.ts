import * as tf from '@tensorflow/tfjs';
import {named} from './configs';

/** How tfjs makes an object of a class from a config. Beyond the first two arguments it depends on the class. */
type FromConfig = (...args: unknown[]) => unknown;

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
