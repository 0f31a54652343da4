import {LoRAError, show} from '../../platform/errors';
import {lora} from './lora';
import {isPrincipal} from './initializer';
import type {Method, MethodOptions, SharedSide} from './method';

/** The methods by name, the default first. `table.ts` adds the others, so that a layer does not import them all. */
const METHODS = new Map<string, Method>([[lora.name, lora]]);

export function addMethods(methods: readonly Method[]): void {
  methods.forEach(method => METHODS.set(method.name, method));
}

export function allMethods(): Method[] {
  return [...METHODS.values()];
}

/**
 * The method of a name from a file.
 *
 * @throws LoRAError if there is no such method.
 */
export function methodOf(name: string = lora.name): Method {
  const method = METHODS.get(name);
  if (method === undefined) {
    const names = [...METHODS.keys()].filter(methodName => !isPrincipal(methodName));
    throw new LoRAError(
      `method must be one of ${names.map(show).join(', ')}, got ${show(name)}. If an entry point such as ` +
        'tfjs-lora/transformers adds it, import that first.',
    );
  }
  return method;
}

/**
 * The method that options choose. In files, a LoRA that starts from the weight is a separate method; options name it by
 * `init`.
 *
 * @throws LoRAError if there is no such method, or `init` does not go with it.
 */
export function chosenMethod({method = 'lora', init}: MethodOptions): Method {
  if (isPrincipal(method)) {
    throw new LoRAError(`${show(method)} is an initialization of LoRA, not a method: pass {init: ${show(method)}}.`);
  }
  if (isPrincipal(init) && method !== 'lora') {
    throw new LoRAError(
      `init: ${show(init)} is an initialization of LoRA, and cannot be combined with method ${show(method)}.`,
    );
  }
  return methodOf(isPrincipal(init) ? init : method);
}

/** The parameters, of all methods, that are parts of a tensor shared by layers. */
export function sharedParameters(): ReadonlyMap<string, SharedSide> {
  return new Map(allMethods().flatMap(({shared = {}}) => Object.entries(shared)));
}

/** A method in a config, which omits the default. */
export function namedIn({name}: Method): {method?: Method['name']} {
  return name === lora.name ? {} : {method: name};
}
