import * as tf from '@tensorflow/tfjs';
import {showShape, throwFaults} from '../../platform/errors';
import {isRegistered, registerOwn, shortName} from '../../platform/tfjs/configs';
import {namedWeights, withValues} from '../../platform/tfjs/weights';
import {resolveWeights, STOCK_BY_WEIGHTS, type WeightTarget} from './weightTargets';
import type {Adaptation} from './adaptation';
import type {LayerConfig} from './layerConfig';
import {type CallArgs, checkedArgs, type LoRALayerArgs} from './layerArgs';
import {LoRALayer} from './loraLayer';
import {disposeMasks} from './recurrentCells';
import {wrapperKind} from './layerMarks';

/** Arguments of a {@link LoRAWeights}. */
export interface LoRAWeightsArgs extends LoRALayerArgs {
  /** The weights to update, by the names that the layer gives them. */
  weights: readonly (string | WeightTarget)[];
}

/**
 * Any layer, custom classes included, with low-rank updates of named weights: the layer computes the same with `W +
 * s·A·B` in place of each of these weights. `A` is `[...fan-in axes, rank]` and `B` `[rank, ...out axes]`. A weight has
 * one out axis unless its entry says otherwise; for example, a kernel `[in, heads, size]` needs `{name: 'query',
 * outAxes: 2}`.
 *
 * The sum is computed once per call, and the layer's variables read as that sum only while its own `call` runs: saving
 * or reading weights sees those of the base. So a call must read its weights before it returns, not in a promise or a
 * custom backward pass. The layer must make its weights in `build`, and list those of inner layers among its `weights`.
 *
 * The gradient of each updated weight is computed in full, and those of `A` and `B` from it. Prefer the LoRA class of a
 * layer if there is one.
 */
export class LoRAWeights extends LoRALayer {
  static readonly className = 'tfjs-lora>LoRAWeights';

  private readonly targets: Required<WeightTarget>[];
  private inForce = false;

  /**
   * @throws LoRAError also if the layer's class is not registered with `tf.serialization`, or if a weight is missing,
   *     has fewer than two axes or is not float32. Weights are checked when the layer is built.
   */
  constructor(args: LoRAWeightsArgs) {
    const {weights, ...layerArgs} = checkedArgs(args);
    const targets = resolveWeights(weights);
    super(layerArgs, weightsAdaptation(layerArgs.layer.getClassName(), targets));
    this.targets = targets;
  }

  override get layerConfig(): LayerConfig {
    return {...super.layerConfig, weights: this.targets.map(target => ({...target}))};
  }

  protected override compute(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    const base = () => this.computeBase(inputs, kwargs);
    if (this.inForce) {
      return base(); // called from inside its own call, where the weights are updated already
    }
    const merged = this.update.mergedKernels();
    const updated = this.adaptation
      .weights(this.baseLayer)
      .map(({variable}, i) => [variable, merged[i] as tf.Tensor] as const);
    this.inForce = true;
    try {
      return withValues(updated, base);
    } finally {
      this.inForce = false;
    }
  }

  /** @internal */
  override disposePrepared(): void {
    super.disposePrepared();
    disposeMasks(this.baseLayer);
  }

  override getConfig(): tf.serialization.ConfigDict {
    // Objects, not a list of names: in files, tfjs changes the spelling of strings, except under the key `name`.
    return {...super.getConfig(), weights: this.targets.map(target => ({...target}))};
  }
}
registerOwn(LoRAWeights);

export function weightsAdaptation(baseClassName: string, targets: readonly Required<WeightTarget>[]): Adaptation {
  return {
    baseClassName,
    weightFaults: layer => faultsIn(layer, targets),
    weights: layer => {
      throwFaults(faultsIn(layer, targets));
      const named = namedWeights(layer);
      return targets.map(({name, outAxes}) => ({name, variable: named.get(name) as tf.LayerVariable, outAxes}));
    },
    refusal,
  };
}

function refusal(layer: tf.layers.Layer): string | undefined {
  const className = layer.getClassName();
  if (wrapperKind(layer) !== undefined) {
    return `A ${shortName(className)} cannot be wrapped again. Wrap the layer that it wraps.`;
  }
  return isRegistered(className)
    ? STOCK_BY_WEIGHTS[className]?.refusal?.(layer)
    : `The class ${className} is not registered. Call tf.serialization.registerClass(${className}) first.`;
}

/** A line for each target that a built layer lacks, or that cannot have a low-rank update. */
function faultsIn(layer: tf.layers.Layer, targets: readonly Required<WeightTarget>[]): string[] {
  const named = namedWeights(layer);
  return targets.flatMap(({name, outAxes}) => {
    const variable = named.get(name);
    const fault = variable === undefined ? `there is no weight "${name}"` : faultOf(variable, name, outAxes);
    return fault === undefined
      ? []
      : [`Layer "${layer.name}" (${layer.getClassName()}): ${fault}. It has ${listed(named)}.`];
  });
}

function faultOf({shape, dtype}: tf.LayerVariable, name: string, outAxes: number): string | undefined {
  if (dtype !== 'float32') {
    return `weight "${name}" is of type ${dtype}, an update needs float32`;
  }
  if (shape.length < 2) {
    return `weight "${name}" has shape ${showShape(shape)}, an update needs two axes or more`;
  }
  return outAxes >= shape.length
    ? `weight "${name}" has shape ${showShape(shape)}, so outAxes must be less than ${shape.length}, got ${outAxes}`
    : undefined;
}

export function listed(weights: ReadonlyMap<string, tf.LayerVariable>): string {
  return weights.size === 0
    ? 'no weights'
    : [...weights].map(([name, {shape}]) => `${name} ${showShape(shape)}`).join(', ');
}
