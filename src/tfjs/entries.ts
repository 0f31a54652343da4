import {LoRAError, show} from '../errors';
import type {LayerEntry} from './configs';

/**
 * The entry of the layer inside of another, as the config of that has it.
 *
 * @throws LoRAError if it is none: the config may come from a damaged file.
 */
export function innerEntry(value: unknown, owner: unknown): LayerEntry {
  const {className, config} = (value ?? {}) as Partial<Record<keyof LayerEntry, unknown>>;
  if (typeof className !== 'string' || typeof config !== 'object' || config === null) {
    throw new LoRAError(
      `The config of layer ${show(owner)} must hold the layer that it wraps: {layer: {className, config}}.`,
    );
  }
  return value as LayerEntry;
}
