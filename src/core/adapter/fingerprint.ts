import * as tf from '@tensorflow/tfjs';

// A base is recognized by the distance of a few values of each kernel, not by a hash, so that the same weights in 8 or
// 4 bits count as the same base.

/** How many values of a kernel are kept. */
const SAMPLES = 8;
/** Values in a file are multiples of a thousandth of the largest. */
const STEPS = 999;
/**
 * Beyond these distances, on average or for a single kernel, the base is another one. Quantized to 4 bits they move by
 * 0.1.
 */
const [MAX_MEAN_DISTANCE, MAX_LAYER_DISTANCE] = [0.3, 0.6];
/** Below this, kernels differ only by the rounding of files. */
const ROUNDING = 0.004;
/** From this on, two lists of values are multiples of each other. */
const ALIKE = 0.95;

/** A kernel that unpacks another variable whenever it is read. */
export interface UnpackedVariable extends tf.LayerVariable {
  packed?: {
    holder: tf.LayerVariable;
    /** Some of its values, without the others. */
    valuesAt(positions: readonly number[]): number[];
  };
}

/** A kernel that an adapter updates. */
export interface Kernel {
  /** The tensor with its values; `packed` reads some of them if they are stored in another form. */
  held: tf.Tensor;
  packed: UnpackedVariable['packed'];
  size: number;
  /** The update that the adapter adds, if it is a product: `scaling·a·b`, `[…, rank]` and `[rank, …]`. */
  update: (() => {a?: tf.Tensor; b?: tf.Tensor; scaling: number}) | undefined;
}

/** Kernels by the paths of their layers; the first if a layer has several. */
export type Kernels = ReadonlyMap<string, Kernel>;

/** Values of kernels, by the paths of their layers. */
type Values = ReadonlyMap<string, readonly number[]>;

/** A computation with values of tensors, which some backends only return as a promise. */
type Reading<T> = Generator<tf.Tensor, T, ArrayLike<number>>;

/** The values of kernels that were read. The data of a tensor never change. */
const cache = new WeakMap<object, readonly number[]>();

/** The base of an adapter: some values of the kernels that the adapter updates. */
export class NamedBase {
  /** The first layers of models with which the adapter was compared. */
  readonly checked = new WeakSet<tf.layers.Layer>();
  private isReported = false;

  private constructor(private readonly kernels: Values) {}

  static async read(kernels: Kernels): Promise<NamedBase> {
    return new NamedBase(await readLater(valuesOf(kernels)));
  }

  /** The base that a file names, in the order of paths. Invalid entries are left out. */
  static decode(paths: readonly string[], saved: unknown): NamedBase {
    const lists: unknown[] = Array.isArray(saved) && saved.length === paths.length ? saved : [];
    const kernels = lists.flatMap((list, i) => {
      const isKnown = Array.isArray(list) && list.length === SAMPLES + 1 && list.every(Number.isFinite);
      const [largest = 0, ...values] = isKnown ? (list as number[]) : [];
      return isKnown ? [[paths[i] ?? '', values.map(value => (value * largest) / STEPS)] as const] : [];
    });
    return new NamedBase(new Map(kernels));
  }

  /** The inverse of `decode`. */
  encode(paths: readonly string[]): number[][] {
    return paths.map(path => {
      const values = this.kernels.get(path) ?? [NaN];
      const largest = Number(Math.max(...values.map(Math.abs)).toPrecision(4));
      const list = [largest, ...values.map(value => Math.round((value * STEPS) / (largest || 1)))];
      return list.every(Number.isFinite) ? list : [];
    });
  }

  /** The base that adapters share; `undefined`, with a warning, if they have different ones. */
  static shared(bases: readonly NamedBase[]): NamedBase | undefined {
    const common = new Map<string, readonly number[]>();
    const distances = new Map<string, number>();
    for (const [path, values] of bases.flatMap(({kernels}) => [...kernels])) {
      const other = common.get(path) ?? values;
      distances.set(path, Math.max(distances.get(path) ?? 0, distance(other, values)));
      common.set(path, other);
    }
    const distant = tooFar(distances);
    if (distant.length > 0) {
      console.warn(
        `The adapters were trained on different bases: the kernels of ${shown(distant)} differ. Their combination ` +
          'fits none of them. Combine adapters of the same base.',
      );
    }
    return distant.length > 0 || common.size === 0 ? undefined : new NamedBase(common);
  }

  /** Warns, once, if these are not the kernels that the adapter was trained on. */
  check(kernels: Kernels): void {
    this.warn(readNow(this.difference(kernels)));
  }

  /** As `check`, on every backend. */
  async checkLater(kernels: Kernels): Promise<void> {
    this.warn(await this.differenceFrom(kernels));
  }

  /** Why the adapter is not for these kernels, and the way out; `undefined` if they are those of its base. */
  async differenceFrom(kernels: Kernels): Promise<string | undefined> {
    return readLater(this.difference(kernels));
  }

  private warn(message: string | undefined): void {
    if (message !== undefined && !this.isReported) {
      this.isReported = true;
      console.warn(message);
    }
  }

  private *difference(kernels: Kernels): Reading<string | undefined> {
    const sampled = yield* valuesOf(kernels);
    const both = [...kernels].flatMap(([path, kernel]) => {
      const [before, now] = [this.kernels.get(path), sampled.get(path)];
      return before && now ? [{path, kernel, before, gap: now.map((value, i) => value - (before[i] ?? 0)), now}] : [];
    });
    const distances = new Map(both.map(({path, before, now}) => [path, distance(before, now)]));
    if (norm([...distances.values()]) <= ROUNDING * Math.sqrt(both.length)) {
      return undefined;
    }
    const updated = both.filter(({kernel}) => kernel.update !== undefined);
    if (updated.length > 0) {
      const updates = yield tf.tidy(() => tf.concat(updated.map(({kernel}) => updateIn(kernel))));
      // Relative to each kernel, so that all count alike.
      const weights = updated.flatMap(({before}) => before.map(() => 1 / (norm(before) || 1)));
      const gaps = updated.flatMap(({gap}) => gap).map((value, i) => value * (weights[i] ?? 0));
      const changes = Array.from(updates, (value, i) => value * (weights[i] ?? 0));
      const product = gaps.reduce((sum, value, i) => sum + value * (changes[i] ?? 0), 0);
      if (product > ALIKE * norm(gaps) * norm(changes)) {
        return (
          'The weights of this model already contain the adapter: they differ from those that it was trained on ' +
          'by its own update. Applied again, the update would count twice. Use the model without the adapter, or ' +
          'apply the adapter to the original base.'
        );
      }
    }
    const distant = tooFar(distances);
    return distant.length === 0
      ? undefined
      : `The adapter was trained on another base: the kernels of ${shown(distant)} differ. Its predictions will ` +
          'not be those after training. Apply it to the model that it was trained on, with the same weights.';
  }
}

function* valuesOf(kernels: Kernels): Reading<Values> {
  const unread = [...kernels.values()].filter(({held}) => !cache.has(held.dataId));
  if (unread.length > 0) {
    const values = Array.from(yield tf.tidy(() => tf.concat(unread.map(valuesIn))));
    unread.forEach(({held}, i) => cache.set(held.dataId, values.slice(i * SAMPLES, (i + 1) * SAMPLES)));
  }
  return new Map([...kernels].map(([path, {held}]) => [path, cache.get(held.dataId) ?? []]));
}

function valuesIn({held, packed, size}: Kernel): tf.Tensor {
  const places = placesIn(size);
  return packed ? tf.tensor1d(packed.valuesAt(places)) : tf.gather(tf.reshape(held, [-1]), places);
}

function updateIn({size, update}: Kernel): tf.Tensor {
  const {a, b, scaling} = update?.() as {a: tf.Tensor; b: tf.Tensor; scaling: number};
  const [rank = 1] = b.shape;
  const width = b.size / rank;
  const places = placesIn(size);
  const rows = places.map(place => Math.floor(place / width));
  const columns = places.map(place => place % width);
  const [x, y] = [tf.gather(tf.reshape(a, [-1, rank]), rows), tf.gather(tf.reshape(b, [rank, width]), columns, 1)];
  return tf.mul(tf.sum(tf.mul(x, tf.transpose(y)), 1), scaling);
}

/** Positions spread over a kernel, without a preference for any row or column. */
function placesIn(size: number): number[] {
  const goldenRatio = (Math.sqrt(5) - 1) / 2;
  return Array.from({length: SAMPLES}, (_, i) => Math.floor((((i + 1) * goldenRatio) % 1) * size));
}

/** The layers whose kernels are others. */
function tooFar(distances: ReadonlyMap<string, number>): string[] {
  const sum = [...distances.values()].reduce((total, gap) => total + gap, 0);
  const limit = sum > MAX_MEAN_DISTANCE * distances.size ? MAX_MEAN_DISTANCE : MAX_LAYER_DISTANCE;
  return [...distances].filter(([, gap]) => gap > limit).map(([path]) => path);
}

/** The distance of values: 0 for equal ones, about 1 for unrelated ones. */
function distance(one: readonly number[], other: readonly number[]): number {
  const gap = norm(one.map((value, i) => value - (other[i] ?? 0)));
  return gap === 0 ? 0 : gap / Math.hypot(norm(one), norm(other));
}

function norm(values: readonly number[]): number {
  return Math.hypot(...values);
}

function shown(paths: readonly string[]): string {
  const [few, more] = [paths.slice(0, 5).join(', '), paths.length - 5];
  return more > 0 ? `${few} and ${more} more` : few;
}

function readNow<T>(reading: Reading<T>): T {
  let step = reading.next();
  while (!step.done) {
    const values = step.value.dataSync();
    step.value.dispose();
    step = reading.next(values);
  }
  return step.value;
}

async function readLater<T>(reading: Reading<T>): Promise<T> {
  let step = reading.next();
  while (!step.done) {
    const tensor = step.value;
    step = reading.next(await tensor.data().finally(() => tensor.dispose()));
  }
  return step.value;
}
