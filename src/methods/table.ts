import {LoRAError, show} from '../errors';
import {dora} from './dora';
import {ia3, ia3FeedForward} from './ia3';
import {loha} from './loha';
import {lokr} from './lokr';
import {lora} from './lora';
import {loraFA} from './loraFA';
import type {Method} from './method';
import {olora, pissa} from './principal';
import {vera} from './vera';

/** A row for each method. The first is the default. */
const METHODS: readonly Method[] = [lora, dora, loraFA, pissa, olora, ia3, ia3FeedForward, vera, loha, lokr];

/**
 * The method of a name, as options and files give it.
 *
 * @throws LoRAError if there is no such method.
 */
export function methodOf(name: string = lora.name): Method {
  const method = METHODS.find(candidate => candidate.name === name);
  if (method === undefined) {
    throw new LoRAError(
      `method must be one of ${METHODS.map(known => show(known.name)).join(', ')}, got ${show(name)}.`,
    );
  }
  return method;
}

/** The name as configs hold it: they leave that of the default out. */
export function namedIn({name}: Method): {method?: string} {
  return name === lora.name ? {} : {method: name};
}
