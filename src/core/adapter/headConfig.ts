import {damagedError, isRecord, listed, tooLargeError, unsupportedError} from '../../platform/errors';
import {shortName} from '../../platform/tfjs/configs';
import type {HeadConfig} from './adapter';

/** Wrappers and nested models need far fewer. Recursion can handle this many. */
const MAX_LEVELS = 200;
/** Heads have fewer. With far more layers tfjs runs out of stack. */
const MAX_LAYERS = 200;
const MAX_VALUES = 20_000;

/** Whether two heads have the same position and layers, whatever their weights. Two missing heads are equal. */
export function sameHead(one: HeadConfig | undefined, other: HeadConfig | undefined): boolean {
  return essence(one) === essence(other);
}

/** A head as messages show it: `after "pool": classes (Dense)`. */
export function describeHead(head: HeadConfig | undefined): string {
  const names = head?.layers.map(({className, config}) => `${config.name as string} (${className})`) ?? [];
  return head === undefined ? 'no new head' : `a new head after "${head.at}": ${listed(names)}`;
}

/**
 * Checks the config of a head, which may come from anyone.
 *
 * @throws LoRAError if something is missing or of another type.
 */
export function checkHeadConfig(head: unknown): void {
  if (head === undefined) {
    return;
  }
  const {at, layers} = (head ?? {}) as Partial<HeadConfig>;
  if (typeof at !== 'string' || !Array.isArray(layers) || layers.length === 0 || !layers.every(isEntry)) {
    throw damagedError(
      "The adapter's head must say where it attaches, and list its layers: {at, layers: [{className, config: " +
        '{name, …}}]}.',
    );
  }
  if (layers.length > MAX_LAYERS) {
    throw tooLargeError(
      `The adapter's head has ${layers.length} layers, more than the ${MAX_LAYERS} that are allowed.`,
    );
  }
  if (!isShallow(layers, MAX_LEVELS)) {
    throw tooLargeError(`The layers of the adapter's head are nested more deeply than ${MAX_LEVELS} levels.`);
  }
  if (countValues(layers) > MAX_VALUES) {
    throw tooLargeError(`The configs of the adapter's head hold more than ${MAX_VALUES} values.`);
  }
  if (holdsGraph(layers)) {
    throw unsupportedError(
      "The adapter's head has a GraphOp, which runs part of a TensorFlow graph. Adapter files may be untrusted, " +
        'so a head may contain only layers. Share a model with such a head as a whole, or as a graph.',
    );
  }
}

function countValues(value: unknown): number {
  return typeof value === 'object' && value !== null
    ? Object.values(value).reduce<number>((sum, entry) => sum + countValues(entry), 1)
    : 1;
}

/** Whether objects and lists are nested at most this many levels deep. */
function isShallow(value: unknown, levels: number): boolean {
  return (
    typeof value !== 'object' ||
    value === null ||
    (levels > 0 && Object.values(value).every(entry => isShallow(entry, levels - 1)))
  );
}

/** Whether one of the layers, or one inside them, computes a node of an imported graph. */
function holdsGraph(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.entries(value).some(
      ([key, entry]) => (key === 'className' && shortName(String(entry)) === 'GraphOp') || holdsGraph(entry),
    )
  );
}

function isEntry(entry: unknown): boolean {
  const {className, config} = (entry ?? {}) as {className?: unknown; config?: {name?: unknown} | null};
  return typeof className === 'string' && typeof config === 'object' && typeof config?.name === 'string';
}

/** A head as text, whatever the order of its keys, without what matters only in training. */
function essence(head: HeadConfig | undefined): string {
  return JSON.stringify(head ?? null, (key, value: unknown) => {
    if (key === 'className') {
      return shortName(String(value)); // as in files of earlier versions
    }
    if (key === 'trainable' || /(?:Initializer|Regularizer|Constraint)$/.test(key)) {
      return undefined;
    }
    return isRecord(value) ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) : value;
  });
}
