/** How `.keras` files name weights: by their index in a layer. */
export const BY_PLACE = /\/vars\/\d+$/;

/** An unchecked object of a file. */
export type Json = Readonly<Record<string, unknown>>;

export function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether an object in a value of a file, or the value itself, passes a test. */
export function someInside(value: unknown, test: (object: Json) => boolean): boolean {
  return Array.isArray(value)
    ? value.some(entry => someInside(entry, test))
    : isJson(value) && (test(value) || Object.values(value).some(entry => someInside(entry, test)));
}

/** A class name and a config, as Keras writes layers, initializers, regularizers and dtype policies. */
export interface KerasEntry {
  className: string;
  config: Json;
  /** Other fields of the entry, such as `inbound_nodes` and the `module` of the class. */
  otherFields: Json;
}

/** Reads a value of a file as an object of Keras; `undefined` if it is none. */
export function kerasEntry(value: unknown): KerasEntry | undefined {
  if (!isJson(value)) {
    return undefined;
  }
  const {class_name: className, config: fileConfig, ...otherFields} = value;
  // Keras 2.2 wrote a list of layers for the config of a Sequential.
  const config = className === 'Sequential' && Array.isArray(fileConfig) ? {layers: fileConfig} : fileConfig;
  return typeof className === 'string' && isJson(config) ? {className, config, otherFields} : undefined;
}

/** The name of a layer; empty if the file does not say it. */
export function nameOf({config, otherFields}: KerasEntry): string {
  const name = [otherFields.name, config.name].find(value => typeof value === 'string');
  return typeof name === 'string' ? name : '';
}

/** `channels_last` as tfjs spells it, `channelsLast`. */
export function camelCase(text: string): string {
  return text.length > 1 ? text.replace(/_+(\w|$)/g, (_, letter: string) => letter.toUpperCase()) : text;
}

/** A config in tfjs's spelling: keys and strings in camel case. Names stay as they are. */
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
