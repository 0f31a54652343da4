import * as tf from '@tensorflow/tfjs';
import {baseOf} from '../../../core/layers/layerMarks';
import type {Dropout} from '../../../core/ops/update';
import {stockClass} from '../../../platform/tfjs/stockClass';
import {Scaling, SoftCap} from '../layers/scaling';
import {TiedDense} from '../layers/tiedDense';
import type {Head} from '../ops/headInChunks';

/** The output head of a model: the last layers, which compute the logits of each position from its state alone. */
export interface OutputHead extends Head {
  /** The states in the model, `[batch, positions, width]`. */
  readonly states: tf.SymbolicTensor;
  /** The layer whose kernel or table has a row for each class. */
  readonly layer: tf.layers.Layer;
}

/** The head of a model with one output `[batch, positions, classes]`; `undefined` if the model ends otherwise. */
export function outputHead(model: tf.LayersModel): OutputHead | undefined {
  const [output, ...laterOutputs] = model.outputs;
  const classes = output?.shape[2];
  if (output?.shape.length !== 3 || laterOutputs.length > 0 || classes == null) {
    return undefined;
  }
  const layers: tf.layers.Layer[] = [];
  let tensor = output;
  for (;;) {
    const {sourceLayer, inputs} = tensor;
    const base = baseOf(sourceLayer);
    // By names, because another copy of this library may have made the layer.
    const name = base.getClassName();
    const isDense = base instanceof stockClass('Dense') || name === TiedDense.className;
    const [states, ...more] = inputs;
    const isElementwise = [Scaling.className, SoftCap.className].includes(name);
    if (states?.shape.length !== 3 || more.length > 0 || !(isDense || isElementwise)) {
      return undefined;
    }
    layers.unshift(sourceLayer);
    if (isDense) {
      const size = (states.shape[2] ?? 0) * classes;
      const trainsWhole = model.trainableWeights.some(({shape}) => tf.util.sizeFromShape(shape as number[]) >= size);
      return {
        states,
        layer: sourceLayer,
        classes,
        // Each chunk computes the gradient of the whole kernel, which is as large as the logits of this many positions.
        leastPositions: trainsWhole ? (states.shape[2] ?? 1) : 1,
        apply: (x, training) =>
          layers.reduce<tf.Tensor>(
            (y, layer) => layer.apply(y, training ? {training} : {}) as tf.Tensor,
            x,
          ) as tf.Tensor3D,
        dropouts: layers.flatMap(layer => ('dropout' in layer ? [layer.dropout as Dropout] : [])),
      };
    }
    tensor = states;
  }
}
