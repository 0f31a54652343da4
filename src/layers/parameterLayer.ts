import type * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../errors';
import {type LoadReport, loadNamedWeights, matchNames, type NameMapping, type WeightsReport} from './namedWeights';
import {WrapperLayer} from './wrapperLayer';

/** A wrapper whose weights can be listed, read and set by name: its own (`lora_A`, `lora_B`) and its base's (`kernel`, `bias`). */
export abstract class ParameterLayer extends WrapperLayer {
  /** All weights, by name. */
  protected abstract parameters(): Map<string, tf.LayerVariable>;

  /** The names of all weights. */
  getParameterNames(): string[] {
    return [...this.parameters().keys()];
  }

  /** How many weights have a name. */
  get namedParameterCount(): number {
    return this.parameters().size;
  }

  /** A weight by its name, or `undefined` if there is none. The tensor belongs to the layer: do not dispose it. */
  tryGetParameter(name: string): tf.Tensor | undefined {
    return this.parameters().get(name)?.read();
  }

  /** The shape of a weight, or `undefined` if there is none of that name. */
  getParameterShape(name: string): number[] | undefined {
    return this.tryGetParameter(name)?.shape.slice();
  }

  /**
   * Sets a weight.
   *
   * @throws LoRAError if there is none of that name, or its shape or type is another.
   */
  setParameter(name: string, value: tf.Tensor): void {
    const {unmatched, mismatched} = this.loadWeights({[name]: value}, undefined, false);
    if (unmatched.length > 0) {
      throw new LoRAError(
        `Layer "${this.name}" has no weight "${name}". It has ${this.getParameterNames().join(', ')}.`,
      );
    }
    if (mismatched.length > 0) {
      throw new LoRAError(`Layer "${this.name}": ${mismatched.join('')}.`);
    }
  }

  /** Compares names, each first passed through `mapping`, with those of the weights. One that it maps to `null` is skipped. */
  validateWeights(names: readonly string[], mapping?: NameMapping | null): WeightsReport {
    const {matched, unmatched, missing} = matchNames(names, this.parameters(), mapping);
    return {matched, unmatched, missing};
  }

  /**
   * Sets weights by name. Names first pass through `mapping`; one that it maps to `null` is skipped.
   *
   * @param strict Throw, and change nothing, unless the weights are exactly those of the layer. Without it, what fits is set.
   * @returns what matched, what is no weight of the layer, what is missing, and what has another shape or type.
   * @throws LoRAError if strict, with a line for each misfit.
   */
  loadWeights(weights: Readonly<Record<string, tf.Tensor>>, mapping?: NameMapping | null, strict = true): LoadReport {
    return loadNamedWeights(`layer "${this.name}"`, this.parameters(), weights, {mapping, strict});
  }
}
