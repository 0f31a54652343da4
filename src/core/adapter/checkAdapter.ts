import * as tf from '@tensorflow/tfjs';
import {
  damagedError,
  disposedError,
  faultsOf,
  kindOf,
  listed,
  LoRAError,
  misfitError,
  show,
} from '../../platform/errors';
import {resolveWeights} from '../layers/weightTargets';
import type {LayerConfig} from '../layers/layerConfig';
import {resolveStrength} from '../methods/lora';
import {resolveDropout} from '../ops/update';
import {methodOf} from '../methods/registry';
import {isLayerOfOtherCopy, isTensorOfOtherCopy, OTHER_COPY} from '../../platform/tfjs/copies';
import type {Adapter, AdapterConfig} from './adapter';
import {checkHeadConfig} from './headConfig';

/**
 * Checks that a value is an adapter that can be used.
 *
 * @throws LoRAError if it is something else, its config is not one, or it was disposed.
 */
export function checkAdapter(value: unknown): asserts value is Adapter {
  if (isLayerOfOtherCopy(value)) {
    throw misfitError(`The model is ${OTHER_COPY}`);
  }
  const {config, tensors} = (value ?? {}) as Partial<Adapter>;
  if (typeof tensors !== 'object' || (tensors as unknown) === null) {
    throw new LoRAError(`Expected an adapter, as getAdapter and loadAdapter return it, got ${kindOf(value)}.`);
  }
  checkAdapterConfig(config);
  for (const [name, tensor] of Object.entries(tensors)) {
    if (!((tensor as unknown) instanceof tf.Tensor)) {
      throw damagedError(`This is not an adapter: ${name}: no tensor.`);
    }
    if (tensor.isDisposed) {
      throw disposedError(`The adapter was disposed: its ${name} is no longer there.`);
    }
    if (isTensorOfOtherCopy(tensor)) {
      throw misfitError(`The adapter's ${name} is ${OTHER_COPY}`);
    }
  }
}

/** The keys of a layer's config. Others are refused: ignoring them would change what the adapter computes. */
const LAYER_FIELDS: Readonly<Record<keyof LayerConfig, true>> = {
  className: true,
  method: true,
  weights: true,
  rank: true,
  alpha: true,
  rankStabilized: true,
  share: true,
  tokens: true,
  dropout: true,
  freezeBaseLayer: true,
  trainBias: true,
};

/** @throws LoRAError if the method of a layer is unknown, or needs tokens that are missing, or takes none. */
function checkTokens({method, tokens}: LayerConfig): void {
  const {takesTokens = false} = methodOf(method);
  if (takesTokens !== (tokens !== undefined)) {
    throw new LoRAError(`method ${show(method)} takes ${takesTokens ? 'the tokens that train' : 'no tokens'}.`);
  }
}

/**
 * Checks what an adapter's config says, whoever made it.
 *
 * @throws LoRAError if something is missing, of another type or out of range.
 */
export function checkAdapterConfig(config: unknown): asserts config is AdapterConfig {
  const {layers, trainable, biases = []} = (config ?? {}) as Partial<AdapterConfig>;
  if (
    typeof layers !== 'object' ||
    (layers as unknown) === null ||
    Array.isArray(layers) ||
    !isTextList(trainable) ||
    !isTextList(biases)
  ) {
    throw damagedError('This is not the config of an adapter: it must list its layers, and those that train in full.');
  }
  for (const [path, layer] of Object.entries(layers)) {
    if (
      typeof layer !== 'object' ||
      (layer as unknown) === null ||
      typeof layer.className !== 'string' ||
      typeof layer.freezeBaseLayer !== 'boolean' ||
      (layer.rank as unknown) === undefined ||
      (layer.alpha as unknown) === undefined ||
      !['undefined', 'boolean'].includes(typeof layer.trainBias) ||
      !(layer.tokens === undefined || Array.isArray(layer.tokens))
    ) {
      throw damagedError(
        `The adapter's config of layer "${path}" must hold its className, freezeBaseLayer, rank and alpha, and ` +
          'tokens only as a list.',
      );
    }
    const unknown = Object.keys(layer).filter(key => !Object.hasOwn(LAYER_FIELDS, key));
    if (unknown.length > 0) {
      throw damagedError(
        `The adapter's config of layer "${path}" holds ${listed(unknown)}, which this library does not know.`,
      );
    }
    resolveStrength(layer);
    const [fault] = [
      ...faultsOf(() => resolveDropout(layer.dropout)),
      ...faultsOf(() => checkTokens(layer)),
      ...(layer.weights === undefined ? [] : faultsOf(() => resolveWeights(layer.weights))),
    ];
    if (fault !== undefined) {
      throw damagedError(`The adapter's config of layer "${path}": ${fault}`);
    }
  }
  checkHeadConfig((config as AdapterConfig).head);
}

/** Whether a value of a file is a list of texts. */
export function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(entry => typeof entry === 'string');
}
