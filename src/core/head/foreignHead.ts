import type * as tf from '@tensorflow/tfjs';
import type {Adapter} from '../adapter/adapter';
import {brief, damagedError, showShape, tooLargeError, unsupportedError} from '../../platform/errors';
import {
  cloneConfig,
  type ConfigKind,
  entryOf,
  isClassOf,
  isLayerClass,
  isModelClass,
  type LayerEntry,
  layerFromEntry,
} from '../../platform/tfjs/configs';
import type {WeightLimit} from '../../platform/tfjs/weightLimit';

// An adapter's head is a list of configs, and an adapter may come from anywhere. tfjs makes whatever a config names:
// weights of any size, initializers that may never end, models inside layers. Only the layers are needed here: their
// values come with the adapter.

/** Keys of configs that hold a tfjs object other than a layer. */
const KIND_BY_KEY: readonly (readonly [key: RegExp, kind: ConfigKind])[] = [
  [/Regularizer$/, 'regularizer'],
  [/Constraint$/, 'constraint'],
  [/^(?:recurrentA|a)ctivation$/, 'activation'],
];

/** Keys of configs that hold a layer or a list of layers. */
const INNER_LAYERS = /^(?:layer|cells?|forwardLayer|backwardLayer)$/;

const ZEROS = {className: 'Zeros', config: {}};

/** Enough for ordinary layers that do not fit, so that the message can give their shapes. */
const SPARE_NUMBERS = 2 ** 20;
/** 64 MiB, more than outputs of layers have. Limits how often a layer without weights can repeat its input. */
const MAX_OUTPUT = 2 ** 24;

/** How many values the weights of a new head may take, given the tensors that will fill them. */
export function weightLimitFor(tensors: Adapter['tensors']): WeightLimit {
  return {left: SPARE_NUMBERS + 4 * Object.values(tensors).reduce((sum, {size}) => sum + size, 0)};
}

/**
 * Makes a layer from an untrusted config.
 *
 * @throws LoRAError if the config names something that layers of a head do not need, or the layer cannot be made.
 */
export function foreignLayer(entry: LayerEntry): tf.layers.Layer {
  const faults: string[] = [];
  collectFaults(entry.className, entry, faults);
  if (faults.length > 0) {
    throw unsupportedError(
      `The new layer "${entry.config.name as string}" (${entry.className}) is refused: ` +
        `${faults.slice(0, 5).join('; ')}.`,
    );
  }
  const layer = layerFromEntry(startingAtZero(entry));
  // The layer has filled in the config's gaps. An initializer could take minutes when the model is rebuilt.
  const complete = entryOf(layer);
  const plain = startingAtZero(complete);
  return JSON.stringify(plain) === JSON.stringify(complete) ? layer : layerFromEntry(plain);
}

/** Refuses outputs that are no shape, or unreasonably large. */
export function checkOutput(named: string, {shape}: tf.SymbolicTensor, input: tf.SymbolicTensor): void {
  if (!shape.every(size => size === null || (Number.isSafeInteger(size) && size >= 0))) {
    throw damagedError(`${named} has outputs of shape ${showShape(shape)}.`);
  }
  if (numbersIn(shape) > Math.max(MAX_OUTPUT, numbersIn(input.shape))) {
    throw tooLargeError(
      `${named} has outputs of shape ${showShape(shape)}, which are too large for a head that comes with an adapter.`,
    );
  }
}

function numbersIn(shape: tf.Shape): number {
  return shape.reduce<number>((product, size) => product * (size ?? 1), 1);
}

function startingAtZero(entry: LayerEntry): LayerEntry {
  return cloneConfig(entry, (key, value) => (/Initializer$/.test(key) && value !== null ? ZEROS : value));
}

/** Checks what a config names, at any depth. */
function collectFaults(key: string, value: unknown, faults: string[]): void {
  const className = classNameOf(value);
  const kind = KIND_BY_KEY.find(([pattern]) => pattern.test(key))?.[1];
  if (/Initializer$/.test(key)) {
    return; // is left out
  }
  if (kind !== undefined && value !== null && value !== undefined) {
    if (className === undefined || !isClassOf(kind, SHORT_NAMES[className] ?? className)) {
      faults.push(`its ${key} is ${brief(className ?? value)}, which is no ${kind}`);
      return;
    }
  } else if (typeof value === 'object' && className !== undefined && isModelClass(className)) {
    faults.push(`it contains a ${className}, but layers of a head may not contain models`);
  } else if (INNER_LAYERS.test(key) && typeof value === 'object' && value !== null) {
    const strangers = [value].flat().filter(inner => !isLayerClass(classNameOf(inner) ?? ''));
    faults.push(...strangers.map(inner => `its ${key} is ${brief(classNameOf(inner) ?? inner)}, which is no layer`));
  }
  if (typeof value === 'object' && value !== null) {
    Object.entries(value).forEach(([inner, entry]) => collectFaults(inner, entry, faults));
  }
}

/** The class of an object that tfjs would make. A config may give only the name. */
function classNameOf(value: unknown): string | undefined {
  const name: unknown = typeof value === 'string' ? value : (value as {className?: unknown} | null)?.className;
  return typeof name === 'string' ? name : undefined;
}

const SHORT_NAMES: Readonly<Record<string, string>> = {
  ...{l1l2: 'L1L2', maxNorm: 'MaxNorm', minMaxNorm: 'MinMaxNorm', nonNeg: 'NonNeg', unitNorm: 'UnitNorm'},
};
