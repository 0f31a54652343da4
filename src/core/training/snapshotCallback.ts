import type * as tf from '@tensorflow/tfjs';
import {TrainingCallback} from './callback';
import {Snapshot, writeValues} from './snapshot';

/** A callback that keeps the values of a model at some time, to restore them. */
export abstract class SnapshotCallback extends TrainingCallback {
  /** The weights that training may change. Set when a fit begins. */
  protected variables = new Map<string, tf.LayerVariable>();
  protected snapshot: Snapshot | undefined;

  /** Keeps the current values instead of earlier ones. */
  protected takeSnapshot(): void {
    this.release();
    this.snapshot = new Snapshot(this.variables);
  }

  /** Keeps the values of a checkpoint, and leaves the model as it is. */
  protected takeSnapshotOf(tensors: Readonly<Record<string, tf.Tensor>>): void {
    const current = new Snapshot(this.variables);
    writeValues(this.variables, tensors);
    this.takeSnapshot();
    current.restore();
    current.dispose();
  }

  override release(): void {
    this.snapshot?.dispose();
    this.snapshot = undefined;
  }
}
