/** How `.keras` files name weights: by their places in a layer. */
export const BY_PLACE = /\/vars\/\d+$/;

/** An object of a file, of which nothing is known yet. */
export type Json = Readonly<Record<string, unknown>>;

/** Whether a value of a file is an object. */
export function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether an object that a value of a file holds, or is, passes a test. */
export function someInside(value: unknown, test: (found: Json) => boolean): boolean {
  return Array.isArray(value)
    ? value.some(entry => someInside(entry, test))
    : isJson(value) && (test(value) || Object.values(value).some(entry => someInside(entry, test)));
}

/** A class name and a config, as Keras writes layers, initializers, regularizers and dtype policies. */
export interface KerasEntry {
  className: string;
  config: Json;
  /** The package of Keras or of someone else that has the class. Keras 2 and `.h5` files leave it out of layers. */
  module: string | undefined;
  /** What the entry has beside these, such as `inbound_nodes`. */
  others: Json;
}

/** What a value of a file says of an object of Keras; `undefined` if it is none. */
export function kerasEntry(value: unknown): KerasEntry | undefined {
  if (!isJson(value)) {
    return undefined;
  }
  const {class_name: className, config: given, module, ...others} = value;
  // Keras 2.2 wrote a list of layers for the config of a Sequential.
  const config = className === 'Sequential' && Array.isArray(given) ? {layers: given} : given;
  return typeof className === 'string' && isJson(config)
    ? {className, config, module: typeof module === 'string' ? module : undefined, others}
    : undefined;
}

/** What a layer is called; nothing where the file does not say it. */
export function nameOf({config, others}: KerasEntry): string {
  const name = [others.name, config.name].find(value => typeof value === 'string');
  return typeof name === 'string' ? name : '';
}

/** `channels_last` as tfjs spells it, `channelsLast`. */
export function camelCase(text: string): string {
  return text.length > 1 ? text.replace(/_+(\w|$)/g, (_, letter: string) => letter.toUpperCase()) : text;
}

/** A config as tfjs spells it: keys and words in camel case. Names stay as they are. */
export function camelCased(value: unknown, key = ''): unknown {
  if (typeof value === 'string') {
    return key === 'name' ? value : camelCase(value);
  }
  if (Array.isArray(value)) {
    return value.map(entry => camelCased(entry));
  }
  return isJson(value)
    ? Object.fromEntries(Object.entries(value).map(([name, entry]) => [camelCase(name), camelCased(entry, name)]))
    : value;
}
