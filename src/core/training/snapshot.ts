import * as tf from '@tensorflow/tfjs';
import {isWrapper} from '../layers/wrapperLayer';
import {sitesOf} from '../rewire/walk';
import {allFinite, namesNotFinite} from '../../platform/tfjs/finite';
import {namedWeights, replaceValue} from '../../platform/tfjs/weights';

/**
 * The weights that training may change in a model, by path and name: those of its adapter, and all weights of layers
 * that are not from this library. In a plain model that is everything: a stock BatchNormalization updates its
 * statistics even if it does not train.
 */
export function changingVariables(model: tf.LayersModel): Map<string, tf.LayerVariable> {
  const variables = new Map<string, tf.LayerVariable>();
  for (const {path, layer} of sitesOf(model)) {
    const weights = isWrapper(layer) ? layer.adapterWeights() : namedWeights(layer);
    weights.forEach((variable, name) => variables.set(`${path}/${name}`, variable));
  }
  return variables;
}

/** The values of variables at some time. They share buffers with the variables: unchanged ones take no memory. */
export class Snapshot {
  /** The values, by name. They belong to this snapshot. */
  readonly tensors: Readonly<Record<string, tf.Tensor>>;

  constructor(private readonly variables: ReadonlyMap<string, tf.LayerVariable>) {
    const entries = [...variables].map(([name, variable]) => [name, tf.keep(tf.clone(variable.read()))] as const);
    this.tensors = Object.fromEntries(entries);
  }

  /** Restores these values. */
  restore(): void {
    writeValues(this.variables, this.tensors);
  }

  dispose(): void {
    tf.dispose(this.tensors);
  }
}

export function writeValues(
  variables: ReadonlyMap<string, tf.LayerVariable>,
  values: Readonly<Record<string, tf.Tensor>>,
): void {
  variables.forEach((variable, name) => {
    const value = values[name];
    if (value !== undefined && variable.read().dataId !== value.dataId) {
      replaceValue(variable, value);
    }
  });
}

/** The trainable variables among those that training may change. The others may hold infinities, as masks do. */
export function trainedVariables(model: tf.LayersModel): Map<string, tf.LayerVariable> {
  const trained = new Set(model.trainableWeights);
  return new Map([...changingVariables(model)].filter(([, variable]) => trained.has(variable)));
}

export function areFinite(variables: ReadonlyMap<string, tf.LayerVariable>): Promise<boolean> {
  return allFinite([...variables.values()].map(variable => variable.read()));
}

/** The layers of these variables whose values are not finite, in order. */
export async function layersNotFinite(
  variables: ReadonlyMap<string, tf.LayerVariable>,
  values: Readonly<Record<string, tf.Tensor>>,
): Promise<string[]> {
  const names = await namesNotFinite(
    Object.fromEntries(Object.entries(values).filter(([name]) => variables.has(name))),
  );
  return [...new Set(names.map(name => name.slice(0, name.lastIndexOf('/'))))];
}
