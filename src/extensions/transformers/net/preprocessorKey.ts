import type * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../../../platform/errors';
import {jsonText} from '../../../platform/formats/explained';
import {type CallOptions, stepsOf} from '../../../platform/signals';

/** The key in a model's metadata for its `preprocessor_config.json`. */
export const PREPROCESSOR = 'preprocessor';

/** The `preprocessor_config.json` with which a model was loaded, which is untrusted. Graph models have none. */
export function loadedPreprocessor(model: tf.LayersModel | tf.GraphModel): unknown {
  const metadata = 'getUserDefinedMetadata' in model ? model.getUserDefinedMetadata() : undefined;
  return (metadata as Record<string, unknown> | undefined)?.[PREPROCESSOR];
}

type Kind = 'image' | 'sound';

/**
 * The text of a preprocessor, or its content.
 *
 * @param instead what can be passed in its place.
 * @throws LoRAError if there is none.
 */
export async function preprocessorText(config: unknown, kind: Kind, instead = ''): Promise<string | object> {
  if (typeof config !== 'string' && (typeof config !== 'object' || config === null)) {
    throw new LoRAError(
      `The model was loaded without a preprocessor_config.json, which says how to encode ${kind}s. Pass it as ` +
        `{preprocessor}, here or to loadTransformer${instead}.`,
    );
  }
  return jsonText(config, 'preprocessor_config.json');
}

/** @throws LoRAError for an empty list. */
export function inputsIn<T>(kind: Kind, inputs: T | readonly T[]): readonly T[] {
  const list = Array.isArray(inputs) ? (inputs as readonly T[]) : [inputs as T];
  if (list.length === 0) {
    throw new LoRAError(
      `${kind}s must be ${kind === 'image' ? 'an' : 'a'} ${kind} or a list of ${kind}s, got an empty list.`,
    );
  }
  return list;
}

/**
 * Encodes inputs one after the other.
 *
 * @param encode takes an input, its name in errors, and its index.
 */
export async function encodeInputs<T, R>(
  kind: Kind,
  inputs: readonly T[],
  options: CallOptions,
  encode: (input: T, name: string, index: number) => Promise<R>,
): Promise<R[]> {
  const step = stepsOf(options);
  const [total, what] = [inputs.length, `encoding ${kind}s`];
  const made: R[] = [];
  for (const [done, input] of inputs.entries()) {
    await step({done, total, what});
    made.push(
      await encode(input, total === 1 ? `The ${kind}` : `${kind === 'image' ? 'Image' : 'Sound'} ${done}`, done),
    );
  }
  await step({done: total, total, what});
  return made;
}
