import * as tf from '@tensorflow/tfjs';
import {type Adapter, applyLoRA, disposeModel, getAdapter, mergeLoRA, setAdapter, summarizeLoRA} from 'tfjs-lora';
import type {AdapterState} from '../protocol';

/** The layer of the base whose output the new head reads. */
const FEATURES = 'features';
/** The layer that classifies the visitor's labels. It trains in full and belongs to the adapter. */
const HEAD = 'head';

/** The base with LoRA in its body, under a new head for the visitor's labels. */
export class AdaptedReader {
  private constructor(
    readonly model: tf.LayersModel,
    public labels: readonly string[],
    /** The adapter at strength 1, whatever the strength of the model. */
    private adapter: Adapter,
  ) {}

  /** An untrained reader, for which all labels are equally likely. */
  static untrained(base: tf.LayersModel, labels: readonly string[]): AdaptedReader {
    const model = withNewHead(base, labels.length, classifier =>
      applyLoRA(classifier, {rank: 8, alpha: 16, seed: 1, trainInFull: [HEAD]}),
    );
    return new AdaptedReader(model, labels, getAdapter(model));
  }

  /**
   * A reader with an adapter that was saved.
   *
   * @throws LoRAError if the adapter does not fit the base.
   */
  static fromAdapter(base: tf.LayersModel, adapter: Adapter, labels: readonly string[]): AdaptedReader {
    const model = withNewHead(base, labels.length, classifier => applyLoRA(classifier, adapter));
    return new AdaptedReader(model, labels, adapter);
  }

  /** Scales the adapter in the body; `null` removes all of it, also the trained head. */
  setStrength(strength: number | null): void {
    if (strength === null) {
      setAdapter(this.model, null);
      return;
    }
    const layers = Object.entries(this.adapter.config.layers).map(
      ([path, layer]) => [path, {...layer, alpha: layer.alpha * strength}] as const,
    );
    setAdapter(this.model, {
      ...this.adapter,
      config: {...this.adapter.config, layers: Object.fromEntries(layers)},
    });
  }

  /** Takes the adapter from the trained model. */
  keepTraining(): void {
    this.adapter.dispose();
    this.adapter = getAdapter(this.model);
  }

  /** The adapter at strength 1. It belongs to the reader. */
  get value(): Adapter {
    return this.adapter;
  }

  get state(): Omit<AdapterState, 'kept'> {
    const {trainableParameters, totalParameters} = summarizeLoRA(this.model);
    const tensors = Object.values(this.adapter.tensors);
    const bytes = tensors.reduce((sum, {size}) => sum + size * Float32Array.BYTES_PER_ELEMENT, 0);
    return {labels: this.labels, trainableParameters, totalParameters, bytes};
  }

  /** The merged model at the current strength, as a plain tfjs model. */
  merged(): tf.LayersModel {
    return mergeLoRA(this.model);
  }

  dispose(): void {
    this.adapter.dispose();
    disposeModel(this.model);
  }
}

/** The number of labels of an adapter's head. */
export function labelCount({tensors}: Adapter): number {
  return tensors[`${HEAD}/bias`]?.size ?? 0;
}

/** Puts an untrained head on the base's body and adapts that. The base stays as it is. */
function withNewHead(
  base: tf.LayersModel,
  units: number,
  adapt: (classifier: tf.LayersModel) => tf.LayersModel,
): tf.LayersModel {
  const head = tf.layers.dense({name: HEAD, units, activation: 'softmax', kernelInitializer: 'zeros'});
  const features = base.getLayer(FEATURES).output as tf.SymbolicTensor;
  try {
    return adapt(tf.model({inputs: base.inputs, outputs: head.apply(features) as tf.SymbolicTensor}));
  } finally {
    head.dispose(); // the adapted model has its own; the body is the base's
  }
}
