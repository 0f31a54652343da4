import type * as tf from '@tensorflow/tfjs';
import type {Allocation, Native} from '../../../../backends/wasm/module/native';
import {placeInFile, whenStreamingEnds} from '../../streamed/streamedBlocks';
import {orderRows, type Place, type Run} from '../../streamed/streamedFile';

/** About how many bytes are read at a time of a large matrix that belongs to no run. Tests change it. */
export const SLICE = {bytes: 2 ** 23};

/** Computes with rows of a matrix from row `first` on, which are at an address while it runs. */
type OnRows = (address: number, first: number, count: number) => void;

/**
 * Gives the rows of a matrix: all at once, or of a large one in a file some at a time, in order.
 *
 * @param unit slices are of so many rows, or a multiple.
 */
export function withRows(
  native: Native,
  blocks: tf.TensorInfo,
  [rows, stride]: readonly [count: number, bytes: number],
  unit: number,
  compute: OnRows,
): void {
  const place = placeInFile(blocks);
  if (place === undefined) {
    compute(native.at(blocks), 0, rows);
  } else {
    heapOf(native).withRows(place, [rows, stride], unit, compute);
  }
}

const heaps = new WeakMap<Native, BlocksInHeap>();

function heapOf(native: Native): BlocksInHeap {
  let heap = heaps.get(native);
  if (heap === undefined) {
    heap = new BlocksInHeap(native);
    heaps.set(native, heap);
  }
  return heap;
}

/**
 * Memory for weights that are read from their file: the latest run, which a backward pass needs again right after the
 * recomputation has read it, and a slice of a matrix.
 */
class BlocksInHeap {
  private run: Run | undefined;
  private readonly memories = new Map<'run' | 'slice', Allocation>();

  constructor(private readonly native: Native) {}

  withRows(place: Place, [rows, stride]: readonly [number, number], unit: number, compute: OnRows): void {
    if (place.run !== undefined) {
      compute(this.addressIn(place, place.run), 0, rows);
      return;
    }
    const isWhole = place.order !== undefined;
    const most = isWhole ? rows : Math.max(unit, Math.floor(SLICE.bytes / stride / unit) * unit);
    const count = Math.min(rows, most);
    const address = this.room('slice', count * stride);
    for (let first = 0; first < rows; first += count) {
      const some = Math.min(count, rows - first);
      // The view is made for each read, since memory may have grown.
      const bytes = this.native.bytes(address, some * stride);
      place.file.read(bytes, place.begin + first * stride);
      if (place.order !== undefined) {
        orderRows(bytes, place.order);
      }
      compute(address, first, some);
    }
  }

  private addressIn({file, begin}: Place, run: Run): number {
    if (this.run !== run) {
      this.run = undefined; // until all of it is read
      const bytes = this.native.bytes(this.room('run', file.largestRun), run.bytes);
      file.read(bytes, run.begin);
      for (const matrix of run.reordered) {
        const first = matrix.begin - run.begin;
        orderRows(bytes.subarray(first, first + matrix.bytes), matrix.order as Int32Array);
      }
      this.run = run;
    }
    return this.room('run', run.bytes) + begin - run.begin;
  }

  /** The memory of a kind, with room for so many bytes. */
  private room(kind: 'run' | 'slice', bytes: number): number {
    const memory = this.memories.get(kind);
    if (memory !== undefined && memory.bytes >= bytes) {
      return memory.address;
    }
    this.free(kind);
    whenStreamingEnds(this.release);
    const larger = this.native.allocate(bytes);
    this.memories.set(kind, larger);
    return larger.address;
  }

  private free(kind: 'run' | 'slice'): void {
    const memory = this.memories.get(kind);
    if (memory !== undefined) {
      this.memories.delete(kind); // also if there is no room for more
      this.native.free(memory);
    }
  }

  private readonly release = () => {
    this.run = undefined;
    this.free('run');
    this.free('slice');
  };
}
