import * as tf from '@tensorflow/tfjs';
import {type Adapter, layerConfigAt, makeAdapter} from '../../../core/adapter/adapter';
import {classInAdapters} from '../../../core/layers/adaptation';
import {borrowing} from '../../../core/layers/borrowingLayer';
import {adaptationOf} from '../../../core/layers/registry';
import {applyLoRA} from '../../../core/model/apply';
import type {LoRAConfig} from '../../../core/model/config';
import {getAdapter} from '../../../core/model/currentAdapter';
import {adaptableSites} from '../../../core/model/planLoRA';
import {disposeModel} from '../../../core/rewire/dispose';
import {checkModel, type Site} from '../../../core/rewire/walk';
import {checkOptions, listed, LoRAError, misfitError, show} from '../../../platform/errors';
import {TOKEN_DELTAS, tokenRows} from '../layers/tokenRows';

/** Options of {@link trainableTokens}. */
export interface TrainableTokensOptions {
  /** What else is adapted, as for `applyLoRA`. Default: nothing, the tokens train alone. */
  lora?: LoRAConfig;
  /** The path of the token embedding. Default: the only `Embedding` of the model. */
  layer?: string;
}

/**
 * Makes an adapter that trains the embeddings of some tokens, such as markers of a format that the tokenizer has and
 * the model never saw, and leaves the rest of the vocabulary as it is. In a tied output head the same rows train, as
 * with PEFT's `trainable_token_indices`. Pass it to `applyLoRA`; a new one changes nothing.
 *
 * @param model the plain model that is to be adapted, quantized or not.
 * @param tokens the ids of the tokens, each less than the vocabulary size.
 * @param options what else is adapted, and which layer is the token embedding.
 * @returns the adapter. The caller disposes of it, unless `applyLoRA(model, adapter)` takes it over.
 * @throws LoRAError `ERR_OPTION` if the ids are not different whole numbers or a config is malformed, `ERR_MISFIT` if
 *     the vocabulary is smaller, the layer is not found, or `lora` adapts the embedding or the head tied to it,
 *     `ERR_NOT_ADAPTED` if the model is adapted already.
 * @example
 *     const adapter = trainableTokens(model, [4, 17], {lora: {rank: 8, targets: [/[qv]_proj$/]}});
 *     const adapted = applyLoRA(model, adapter);
 * @experimental
 */
export function trainableTokens(
  model: tf.LayersModel,
  tokens: readonly number[],
  options: TrainableTokensOptions = {},
): Adapter {
  checkOptions(options, {lora: true, layer: true});
  checkTokenIds(tokens);
  checkModel(model);
  const sites = adaptableSites(model);
  const {path, layer} = embeddingAmong(sites, options.layer);
  const [rows = 0, width = 0] = adaptationOf(layer)?.weights(layer)[0]?.variable.shape as number[];
  const missing = tokens.find(id => id >= rows);
  if (missing !== undefined) {
    throw misfitError(`The vocabulary of "${path}" has ${rows} tokens, and there is none with id ${missing}.`);
  }
  const {config, tensors} = options.lora === undefined ? NOTHING : adapterOf(model, options.lora);
  const taken = sites.find(
    site =>
      (site.path === path || borrowing(site.layer)?.lender === layer) &&
      (layerConfigAt(config, site.path) !== undefined || config.trainable.includes(site.path)),
  );
  if (taken !== undefined) {
    tf.dispose(tensors);
    throw misfitError(
      `lora adapts "${taken.path}", ${taken.path === path ? 'the token embedding' : 'the output head tied to it'}. ` +
        `Exclude it: lora: {exclude: [${show(taken.path)}]}.`,
    );
  }
  const rank = tokens.length;
  const own = {rank, alpha: rank, rankStabilized: false, tokens: [...tokens], freezeBaseLayer: true};
  const layers = {
    ...config.layers,
    [path]: {className: classInAdapters(layer.getClassName()), method: tokenRows.name, ...own},
  };
  return makeAdapter({...config, layers}, {...tensors, [`${path}/${TOKEN_DELTAS}`]: tf.zeros([rank, width])});
}

const NOTHING: Pick<Adapter, 'config' | 'tensors'> = {config: {layers: {}, trainable: []}, tensors: {}};

function checkTokenIds(tokens: unknown): void {
  const ids: unknown[] = Array.isArray(tokens) ? tokens : [];
  const isId = (id: unknown) => Number.isSafeInteger(id) && (id as number) >= 0;
  if (ids.length === 0 || new Set(ids).size !== ids.length || !ids.every(isId)) {
    throw new LoRAError(`tokens must be a list of different token ids, such as [4, 17], got ${show(tokens)}.`);
  }
}

/** A new adapter by a config. */
function adapterOf(model: tf.LayersModel, config: LoRAConfig): Adapter {
  const adapted = applyLoRA(model, config);
  try {
    return getAdapter(adapted);
  } finally {
    disposeModel(adapted);
  }
}

function embeddingAmong(sites: readonly Site[], path: string | undefined): Site {
  const embeddings = sites.filter(({layer}) => adaptationOf(layer)?.form === 'lookUp');
  const [first, ...others] = path === undefined ? embeddings : embeddings.filter(site => site.path === path);
  if (first === undefined || others.length > 0) {
    throw misfitError(
      `${path === undefined ? 'Name the token embedding by {layer}' : `There is no Embedding ${show(path)}`}. The ` +
        `model has: ${listed(embeddings.map(site => show(site.path))) || 'none'}.`,
    );
  }
  return first;
}
