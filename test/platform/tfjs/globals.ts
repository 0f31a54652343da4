import type * as Tfjs from '@tensorflow/tfjs';

type Tf = typeof Tfjs;

/** What stands where in the globals of tfjs. */
export type Globals = ReadonlyMap<string, unknown>;

/** What all copies of tfjs-core in a process share. */
interface Shared {
  _tfGlobals: Map<string, unknown>;
}

/** What changes with every tensor, or belongs to one backend; and what is listed apart. */
const PASSED_OVER = [
  /^tf\.(ENV|serialization\.SerializationMap\.instance)$/,
  /^env\.(global|urlFlags|platform)$/,
  /^engine\.(ENV|pendingBackend.*|backendInstance|backendName|profiler|registry\.\w+|state\..*)$/,
  /^engine\.__proto__\.constructor\.next\w+Id$/,
];

/**
 * All that a process has one of: the exports of tfjs with their methods, its engine and flags, kernels, gradients,
 * classes of layers, handlers of files, and the globals of JavaScript.
 */
export function globalsOf(tf: Tf): Globals {
  const found = new Map<string, unknown>();
  const seen = new Set<unknown>();
  // Breadth first: what stands in several places has the shortest path.
  const queue: [path: string, value: unknown][] = [
    ['tf.layers.Layer', tf.layers.Layer],
    ['tf', tf],
    ['engine', tf.engine()],
    ['env', tf.env()],
  ];
  for (const [path, value] of queue) {
    if (PASSED_OVER.some(pattern => pattern.test(path))) {
      continue;
    }
    found.set(path, value);
    if (((typeof value !== 'object' || value === null) && typeof value !== 'function') || seen.has(value)) {
      continue;
    }
    seen.add(value);
    for (const key of Reflect.ownKeys(value)) {
      const {value: own, get, set} = Reflect.getOwnPropertyDescriptor(value, key) ?? {};
      // The exports of tfjs are getters.
      const entry = path === 'tf' ? (value as Record<PropertyKey, unknown>)[key] : (own ?? get ?? set);
      queue.push([`${path}.${String(key)}`, entry]);
    }
    queue.push([`${path}.__proto__`, Object.getPrototypeOf(value)]);
  }
  const {_tfGlobals: registries} = globalThis as unknown as Shared;
  for (const [kind, registry] of [
    ['kernel', registries.get('kernelRegistry')],
    ['gradient', registries.get('gradRegistry')],
  ] as const) {
    (registry as Map<string, unknown>).forEach((config, name) => found.set(`${kind} ${name}`, config));
  }
  const {classNameMap} = tf.serialization.SerializationMap.getMap();
  Object.entries(classNameMap).forEach(([name, entry]) => found.set(`class ${name}`, entry));
  for (const scheme of ['', 'file://', 'hf://', 'http://', 'indexeddb://', 'localstorage://', 'downloads://']) {
    found.set(`router to save ${scheme}`, tf.io.getSaveHandlers(`${scheme}x`).length);
    found.set(`router to load ${scheme}`, tf.io.getLoadHandlers(`${scheme}x`).length);
  }
  Object.getOwnPropertyNames(globalThis).forEach(name => found.set(`globalThis.${name}`, undefined));
  return found;
}

/**
 * Where the globals differ between two times: `+` is new, `-` is gone, `≠` is another. What is inside of such a thing
 * is not told again.
 */
export function differences(before: Globals, after: Globals): string[] {
  const changed = new Map<string, string>();
  for (const path of new Set([...before.keys(), ...after.keys()])) {
    const sign = !before.has(path)
      ? '+'
      : !after.has(path)
        ? '-'
        : Object.is(before.get(path), after.get(path))
          ? ''
          : '≠';
    const isInside = path.split('.').some((_, i, parts) => i > 0 && changed.has(parts.slice(0, i).join('.')));
    if (sign !== '' && !isInside) {
      changed.set(path, `${sign} ${path}`);
    }
  }
  return [...changed.values()];
}
