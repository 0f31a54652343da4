import {LoRAError, show} from '../../platform/errors';
import {lora} from './lora';
import type {Method, SharedSide} from './method';

/**
 * The methods by their names, the default first. The others are added by `table.ts`, so that a layer does not import
 * them all.
 */
const METHODS = new Map([[lora.name, lora]]);

export function addMethods(methods: readonly Method[]): void {
  methods.forEach(method => METHODS.set(method.name, method));
}

/**
 * The method of a name, as options and files give it.
 *
 * @throws LoRAError if there is no such method.
 */
export function methodOf(name: string = lora.name): Method {
  const method = METHODS.get(name);
  if (method === undefined) {
    throw new LoRAError(`method must be one of ${[...METHODS.keys()].map(show).join(', ')}, got ${show(name)}.`);
  }
  return method;
}

/** The parameters, of all methods, of which layers have parts of one tensor. */
export function sharedParameters(): ReadonlyMap<string, SharedSide> {
  return new Map([...METHODS.values()].flatMap(({shared = {}}) => Object.entries(shared)));
}

/** A method in a config, which leaves the default out. */
export function namedIn({name}: Method): {method?: string} {
  return name === lora.name ? {} : {method: name};
}
