import type * as tf from '@tensorflow/tfjs';
import type {Flow, SizeId} from './values';

/** A value that is the same in every run. */
export const KNOWN: SizeId = 0;
/** The batch size of the inputs. */
export const BATCH: SizeId = 1;

/** How much is known about a value that varies between runs. */
interface OpenSize {
  /** Whether it depends on a size that the graph leaves open. */
  isOpen: boolean;
  /** Whether it depends on the graph's batch size while that is being freed: then other batches would be wrong. */
  isFreed: boolean;
  /** `times · of + plus`. */
  linear?: {of: SizeId; times: number; plus: number};
}

/** The sizes that are unknown when a graph is planned. */
export class OpenSizes {
  private readonly list: OpenSize[];
  private readonly linear = new Map<string, SizeId>();

  /** @param freesBatch whether the graph's own batch size is being freed. */
  constructor(freesBatch: boolean) {
    this.list = [
      {isOpen: false, isFreed: false},
      {isOpen: !freesBatch, isFreed: freesBatch},
    ];
  }

  /** A completely unknown size. */
  another(): SizeId {
    return this.list.push({isOpen: true, isFreed: false}) - 1;
  }

  /** A number that is known only to depend on some sizes. */
  madeOf(sizes: readonly SizeId[]): SizeId {
    return this.eachMadeOf(sizes, 1)[0] as SizeId;
  }

  /** Several of these values. */
  eachMadeOf(sizes: readonly SizeId[], count: number): SizeId[] {
    if (sizes.every(size => size === KNOWN)) {
      return new Array<SizeId>(count).fill(KNOWN);
    }
    const size = {isOpen: this.isOpen(sizes), isFreed: this.isFreed(sizes)};
    return Array.from({length: count}, () => this.list.push(size) - 1);
  }

  /** `times · size + plus`. */
  scaled(size: SizeId, times: number, plus: number): SizeId {
    const {of, ...line} = this.lineOf(size);
    const linear = {of, times: line.times * times, plus: line.plus * times + plus};
    if (linear.times === 1 && linear.plus === 0) {
      return of;
    }
    const key = JSON.stringify(linear);
    const id = this.linear.get(key) ?? this.list.push({...(this.list[of] as OpenSize), linear}) - 1;
    this.linear.set(key, id);
    return id;
  }

  /** A number as a multiple of a size, plus a constant. */
  lineOf(size: SizeId): {of: SizeId; times: number; plus: number} {
    return this.list[size]?.linear ?? {of: size, times: 1, plus: 0};
  }

  isOpen(sizes: readonly SizeId[]): boolean {
    return sizes.some(size => this.list[size]?.isOpen);
  }

  isFreed(sizes: readonly SizeId[]): boolean {
    return sizes.some(size => this.list[size]?.isFreed);
  }
}

/** The shape of a flow in every run; `null` for a size that is not proved to be constant. */
export function knownShape({shapes, sizes}: Flow): tf.Shape {
  return shapes[0].map((size, axis) => (sizes[axis] === KNOWN ? size : null));
}
