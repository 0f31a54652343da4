import type * as tf from '@tensorflow/tfjs';
import {checkOptions, kindOf, LoRAError, show, unsupportedError} from '../../platform/errors';
import {registeredName, shortName} from '../../platform/tfjs/configs';
import {namedWeights} from '../../platform/tfjs/weights';
import {resolveWeights, STOCK_BY_WEIGHTS, type WeightTarget} from './weightTargets';
import {type Adaptation, plainClass} from './adaptation';
import {checkedArgs, type LoRALayerArgs} from './layerArgs';
import type {LayerConfig} from './layerConfig';
import {KINDS, type LoRALayerClass} from './kinds';
import {listed, LoRAWeights, weightsAdaptation} from './loraWeights';
import {isLoRALayer, type LoRALayer} from './loraLayer';
import {baseOf} from './layerMarks';

/** A LoRA layer class, and the names of the weights that it adapts if it can adapt any layer. */
interface Kind {
  readonly className: string;
  readonly adaptation: Adaptation;
  readonly weights?: Required<WeightTarget>[];
  make(args: LoRALayerArgs): LoRALayer;
}

/** The classes of tfjs that can be adapted. */
const STOCK = new Map<string, Kind>();
KINDS.forEach(registerKind);
Object.entries(STOCK_BY_WEIGHTS).forEach(([name, {weights}]) =>
  STOCK.set(name, byWeights(name, resolveWeights(weights))),
);

/** Lets a class of this library adapt the layers of a class, also one from a separate entry point. */
export function registerKind(loraClass: LoRALayerClass): void {
  const {className, adaptation} = loraClass;
  STOCK.set(adaptation.baseClassName, {className, adaptation, make: args => new loraClass(args)});
}

/** The classes that users registered. */
const registered = new Map<string, Kind>();

/**
 * Makes the layers of a class adaptable by the names of their weights: a custom class, or a class of tfjs that this
 * library does not know. From then on `applyLoRA` adapts them, with {@link LoRAWeights}. Files and adapters do not
 * depend on the registration.
 *
 * @param name the name under which the class is registered with `tf.serialization`.
 * @param options `weights` lists the weights to update, which have two axes or more, by the names that the layer gives
 *     them in `addWeight`. The last axis is the output; an entry such as `{name: 'query', outAxes: 2}` says how many
 *     are.
 * @throws LoRAError `ERR_OPTION` if the class is not registered with `tf.serialization`, the library adapts it already,
 *     it was registered with other weights, or the list is malformed.
 * @example
 *     registerAdaptable('CausalSelfAttention', {weights: ['attn_kernel', 'proj_kernel']});
 */
export function registerAdaptable(
  name: string,
  options: {weights: readonly (string | Readonly<WeightTarget>)[]},
): void {
  if (typeof name !== 'string') {
    throw new LoRAError(`The name of a class must be a string, got ${kindOf(name)}. For example: 'MyLayer'.`);
  }
  checkOptions(options, {weights: true}, `registerAdaptable('${name}', {weights: ['kernel']})`);
  const {weights} = options;
  const targets = resolveWeights(weights);
  const className = registeredName(name);
  if (className === undefined) {
    throw new LoRAError(
      `There is no layer class "${name}". If it is yours, call tf.serialization.registerClass(${name}) first.`,
    );
  }
  const stockAdaptation = STOCK.get(className);
  if (stockAdaptation !== undefined) {
    throw new LoRAError(`${className} need not be registered: ${shortName(stockAdaptation.className)} adapts it.`);
  }
  const before = registered.get(className)?.weights;
  if (before !== undefined && JSON.stringify(before) !== JSON.stringify(targets)) {
    throw new LoRAError(
      `${className} is registered already, with other weights: ${show(before)}, not ${show(targets)}.`,
    );
  }
  registered.set(className, byWeights(className, targets));
}

function byWeights(className: string, weights: Required<WeightTarget>[]): Kind {
  return {
    className: LoRAWeights.className,
    adaptation: weightsAdaptation(className, weights),
    weights,
    make: args => new LoRAWeights({...args, weights}),
  };
}

export function adaptableClasses(): string[] {
  return [...STOCK.keys(), ...registered.keys()].map(shortName);
}

/**
 * The LoRA layer class that adapts the layers of a class, or `undefined` if no class does.
 *
 * @param weights those that an adapter names, whatever is registered here.
 */
export function loraClassOf(className: string, weights?: Required<WeightTarget>[]): Kind | undefined {
  return weights === undefined
    ? (STOCK.get(plainClass(className)) ?? registered.get(className))
    : byWeights(className, resolveWeights(weights));
}

/**
 * Wraps a layer in the LoRA layer for its class, such as `LoRADense` for a `Dense`. With `weights`, it adapts any layer
 * by the names of its weights.
 *
 * @param given the layer, with the rank and the other options of LoRA layers.
 * @returns the LoRA layer, which has the name and the weights of the layer.
 * @throws LoRAError `ERR_UNSUPPORTED` if the layer cannot be adapted, `ERR_MISFIT` if it has no such weights or the
 *     rank is too high for it, `ERR_OPTION` if an option is out of range.
 * @example
 *     const adapted = adaptLayer({layer: tf.layers.dense({units: 8}), rank: 4});
 */
export function adaptLayer(given: LoRALayerArgs & {weights?: readonly (string | WeightTarget)[]}): LoRALayer {
  const {layer} = checkedArgs(given);
  const {weights, ...args} = given;
  if (weights !== undefined) {
    return new LoRAWeights({...args, weights});
  }
  const kind = loraClassOf(layer.getClassName());
  if (kind === undefined) {
    throw unsupportedError(`Layer "${layer.name}": ${reasonNotAdaptable(layer, true) ?? 'It cannot be adapted.'}`);
  }
  return kind.make(args);
}

/** How a layer is adapted, or could be; `undefined` if its class cannot be adapted. */
export function adaptationOf(layer: tf.layers.Layer): Adaptation | undefined {
  return isLoRALayer(layer) ? layer.adaptation : loraClassOf(baseOf(layer).getClassName())?.adaptation;
}

/** How an adapter adapts a layer: by the weights that it names, otherwise as the library does. */
export function adaptationBy({className, weights}: LayerConfig, layer: tf.layers.Layer): Adaptation | undefined {
  return weights === undefined ? adaptationOf(layer) : loraClassOf(className, weights)?.adaptation;
}

/**
 * Why a layer cannot be adapted, in whole sentences, or `undefined` if it can.
 *
 * @param named whether the user named the layer instead of asking for all.
 */
export function reasonNotAdaptable(layer: tf.layers.Layer, named: boolean): string | undefined {
  const adaptation = adaptationOf(layer);
  if (adaptation !== undefined) {
    return adaptation.refusal?.(layer) ?? (named ? undefined : adaptation.unlessNamed);
  }
  const className = layer.getClassName();
  const kernels = kernelsOf(layer);
  if (kernels.size === 0) {
    return `LoRA cannot adapt a ${className}. Adaptable: ${adaptableClasses().join(', ')}.`;
  }
  const names = [...kernels.keys()].map(name => `'${name}'`).join(', ');
  return (
    `LoRA does not know the class ${className}. It has ${listed(kernels)}. ` +
    `To adapt these or some of them, register it: registerAdaptable('${className}', {weights: [${names}]}).`
  );
}

/** Whether a layer has a kernel, a weight of two axes or more. */
export function hasKernel(layer: tf.layers.Layer): boolean {
  return kernelsOf(layer).size > 0;
}

function kernelsOf(layer: tf.layers.Layer): Map<string, tf.LayerVariable> {
  return new Map([...namedWeights(layer)].filter(([, {shape}]) => shape.length >= 2));
}
