import * as tf from '@tensorflow/tfjs';
import {TableBackend} from '../../../backends/shared/deferred';
import {type LoRAError, unsupportedError} from '../../../platform/errors';
import {countHeldBytes, leaveReferencesTo} from '../../../platform/tfjs/references';
import type {Place} from './streamedFile';

interface Entry {
  /** `undefined` for zeros, which new layers have until they get their weights. */
  readonly place: Place | undefined;
  readonly bytes: number;
  refCount: number;
}

function heldError(): LoRAError {
  return unsupportedError(
    `This needs all values of weights that are streamed from their file, and the ${tf.getBackend()} backend would ` +
      "hold them from then on. Load the model without {weights: 'streamed'} for it.",
  );
}

/**
 * The backend of quantized matrices that stay in their file. Kernels that know them read what they need; any other
 * reader gets the values from here, if they are not too many.
 */
class StreamedBackend extends TableBackend<Entry> {
  /** Called once there are no more matrices. */
  readonly onEmpty = new Set<() => void>();

  add(place: Place | undefined, bytes: number): tf.DataId {
    const dataId = {};
    this.entries.set(dataId, {place, bytes, refCount: 1});
    place?.file.add(place.bytes);
    return dataId;
  }

  has(dataId: tf.DataId): boolean {
    return this.entries.has(dataId);
  }

  find(dataId: tf.DataId): Place | undefined {
    return this.entries.get(dataId)?.place;
  }

  override readSync(dataId: tf.DataId): tf.backend_util.BackendValues {
    const {place, bytes} = this.entries.get(dataId) as Entry;
    place?.file.checkWholeRead();
    const values = new Int32Array(bytes / 4);
    place?.file.readAll(place, new Uint8Array(values.buffer));
    return values;
  }

  override read(dataId: tf.DataId): Promise<tf.backend_util.BackendValues> {
    return Promise.resolve().then(() => this.readSync(dataId));
  }

  override incRef(dataId: tf.DataId): void {
    super.incRef(dataId);
    countHeldBytes(-(this.entries.get(dataId) as Entry).bytes);
  }

  /** @param force tfjs moves the values to another backend, which holds them from then on. */
  override disposeData(dataId: tf.DataId, force = false): boolean {
    const entry = this.entries.get(dataId);
    if (entry === undefined) {
      return true;
    }
    if (force && entry.place !== undefined) {
      throw heldError();
    }
    const count = force ? entry.refCount : 1;
    entry.refCount -= count;
    countHeldBytes(count * entry.bytes);
    if (entry.refCount > 0) {
      return false;
    }
    this.entries.delete(dataId);
    entry.place?.file.drop(entry.place.bytes);
    if (this.entries.size === 0) {
      this.onEmpty.forEach(release => {
        release();
      });
      this.onEmpty.clear();
    }
    return true;
  }

  /** @throws LoRAError if the current backend would hold the values. */
  stay(): boolean {
    if (tf.getBackend() !== 'wasm') {
      throw heldError();
    }
    return true;
  }
}

const backend = new StreamedBackend();

/** A tensor of blocks that stay in their file, as 32-bit integers; of zeros without a place. */
export function streamedBlocks(place: Place | undefined, count: number): tf.Tensor {
  leaveReferencesTo(backend);
  const tensor = tf.engine().makeTensorFromDataId(backend.add(place, 4 * count), [count], 'int32', backend);
  countHeldBytes(-4 * count);
  return tensor;
}

/** Where the bytes of a tensor are; `undefined` if they are in memory. */
export function placeInFile(tensor: tf.TensorInfo): Place | undefined {
  return backend.find(tensor.dataId);
}

/** Whether any weights are streamed now. Layers that are built from such a model must not hold zeros first. */
export function isStreaming(): boolean {
  return backend.numDataIds() > 0;
}

/** Calls `release` once nothing is streamed any more. */
export function whenStreamingEnds(release: () => void): void {
  backend.onEmpty.add(release);
}
