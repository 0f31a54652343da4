import * as tf from '@tensorflow/tfjs';
import {busyError} from '../../platform/errors';

// What this library attaches to its layers. A process that uses both `import` and `require` has two copies of every
// module, so it is on the layers themselves, under symbols that both copies share.

/** How a layer of this library treats its base: adapts, freezes, or trains it, in full or only its bias. */
export type WrapperKind = 'lora' | 'frozen' | 'bias' | 'trained';

/** Marks this library's layers; `instanceof` would miss those of another copy. */
export const WRAPPER_KIND = Symbol.for('tfjs-lora.layer');

/** Which kind of layer of this library `layer` is, if any. */
export function wrapperKind(layer: tf.layers.Layer): WrapperKind | undefined {
  return (layer as {[WRAPPER_KIND]?: WrapperKind} | null)?.[WRAPPER_KIND];
}

/** Whether a layer that contains no others has weights that train, and so may differ from the original's. */
export function trains(layer: tf.layers.Layer): boolean {
  const kind = wrapperKind(layer);
  return kind !== undefined && kind !== 'frozen';
}

/** The stock or custom layer that `layer` is or wraps. */
export function baseOf(layer: tf.layers.Layer): tf.layers.Layer {
  return wrapperKind(layer) === undefined ? layer : (layer as tf.layers.Layer & {baseLayer: tf.layers.Layer}).baseLayer;
}

export interface Fit {
  /** The model that it trains. */
  readonly model: tf.layers.Layer;
  readonly isGoingOn: () => boolean;
  /** The callbacks that watch it. */
  readonly watch: unknown;
  /** Whether its next batch has begun and has not ended. */
  atStep: boolean;
}

export interface AdapterState {
  /**
   * Identifies the adapter. Another adapter has another mark; training keeps the mark, and setting a snapshot restores
   * the mark that the layer had when the snapshot was taken.
   */
  mark: object;
  /** The innermost `withAdapter` that is open on the layer. */
  scope: object | undefined;
  /** The fits that train the layer, each with the mark that it began with. */
  readonly fits: Map<Fit, object>;
}

const IN_FORCE = Symbol.for('tfjs-lora.inForce');

export function adapterState(layer: tf.layers.Layer): AdapterState {
  const holder = layer as {[IN_FORCE]?: AdapterState};
  return (holder[IN_FORCE] ??= {mark: {}, scope: undefined, fits: new Map()});
}

/**
 * Refuses a training step of a fit that began with another adapter on the layer: it would train the wrong factors.
 *
 * @param training from the arguments of the layer's call.
 * @throws LoRAError if the adapter was changed since.
 */
export function checkStep(layer: tf.layers.Layer, training: unknown): void {
  const {fits, mark} = (layer as {[IN_FORCE]?: AdapterState})[IN_FORCE] ?? {};
  if (training !== true || fits === undefined || fits.size === 0 || !tf.engine().isTapeOn()) {
    return;
  }
  for (const [fit, begun] of fits) {
    if (begun !== mark && fit.atStep && fit.isGoingOn()) {
      throw busyError(
        `Layer "${layer.name}" has a different adapter than when this fit began. In a callback of fit, await ` +
          'withAdapter, so that it ends before the next step. To use another adapter during a fit, give it a ' +
          'separate model: applyLoRA(base, adapter).',
      );
    }
  }
}
