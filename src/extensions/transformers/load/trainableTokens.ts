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
import {type Site} from '../../../core/rewire/walk';
import {checkModel} from '../../../platform/tfjs/checkModel';
import {checkOptions, listed, LoRAError, misfitError, show} from '../../../platform/errors';
import {TOKEN_DELTAS, tokenRows} from '../layers/tokenRows';
import {outputHead} from '../losses/outputHead';

/** Options of {@link trainableTokens}. */
export interface TrainableTokensOptions {
  /** The config of an additional adapter, as for `applyLoRA`. Default: none; only the tokens train. */
  lora?: LoRAConfig;
  /** The path of the token embedding. Default: the only `Embedding` of the model. */
  layer?: string;
  /**
   * Whether the rows of these tokens train in an untied output head too, which tokens of `addTokens` need so that the
   * model writes them. Default: false.
   */
  head?: boolean;
}

/**
 * Makes an adapter that trains the embeddings of some tokens, such as markers of a format that the model never saw, and
 * leaves the rest of the vocabulary as it is. In a tied output head the same rows train, as with PEFT's
 * `trainable_token_indices`. Pass it to `applyLoRA`; a new one changes nothing. `addTokens` adds new tokens.
 *
 * @param model the plain model that is to be adapted, quantized or not.
 * @param tokens the ids of the tokens, each less than the vocabulary size.
 * @param options an additional adapter, and which layer is the token embedding.
 * @returns the adapter. The caller disposes of it, unless `applyLoRA(model, adapter)` takes it over.
 * @throws LoRAError `ERR_OPTION` if the ids are not different whole numbers or a config is malformed, `ERR_MISFIT` if
 *     the vocabulary is smaller, the layer is not found, or `lora` adapts the embedding or the head that trains with
 *     it, `ERR_NOT_ADAPTED` if the model is adapted already.
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
  checkOptions(options, {lora: true, layer: true, head: true});
  checkTokenIds(tokens);
  if (typeof (options.head ?? false) !== 'boolean') {
    throw new LoRAError(`head must be true or false, got ${show(options.head)}.`);
  }
  checkModel(model);
  const sites = adaptableSites(model);
  const {path, layer} = embeddingAmong(sites, options.layer);
  const [rows, width] = tableShapeOf(layer);
  const missing = tokens.find(id => id >= rows);
  if (missing !== undefined) {
    throw misfitError(`The vocabulary of "${path}" has ${rows} tokens, and there is none with id ${missing}.`);
  }
  const head = options.head ? untiedHead(model, sites, rows) : undefined;
  const {config, tensors} = options.lora === undefined ? NOTHING : adapterOf(model, options.lora);
  const taken = sites.find(
    site =>
      (site.path === path || site === head || borrowing(site.layer)?.lender === layer) &&
      (layerConfigAt(config, site.path) !== undefined || config.trainable.includes(site.path)),
  );
  if (taken !== undefined) {
    tf.dispose(tensors);
    throw misfitError(
      `lora adapts "${taken.path}", ${taken.path === path ? 'the token embedding' : `the output head${taken === head ? '' : ' tied to it'}`}. ` +
        `Exclude it: lora: {exclude: [${show(taken.path)}]}.`,
    );
  }
  const rank = tokens.length;
  const tokensConfig = {rank, alpha: rank, rankStabilized: false, tokens: [...tokens], freezeBaseLayer: true};
  const trained = [{path, layer}, ...(head === undefined ? [] : [head])];
  const layers = trained.map(site => [
    site.path,
    {className: classInAdapters(site.layer.getClassName()), method: tokenRows.name, ...tokensConfig},
  ]);
  const deltas = trained.map(site => [`${site.path}/${TOKEN_DELTAS}`, tf.zeros([rank, width])]);
  return makeAdapter(
    {...config, layers: {...config.layers, ...(Object.fromEntries(layers) as Adapter['config']['layers'])}},
    {...tensors, ...(Object.fromEntries(deltas) as Adapter['tensors'])},
  );
}

/** The output head, if it has a separate kernel with a column for each of this many tokens. */
export function untiedHead(model: tf.LayersModel, sites: readonly Site[], rows: number): Site | undefined {
  const head = outputHead(model);
  return head?.classes === rows
    ? sites.find(({layer}) => layer === head.layer && borrowing(layer) === undefined)
    : undefined;
}

const NOTHING: Pick<Adapter, 'config' | 'tensors'> = {config: {layers: {}, trainable: []}, tensors: {}};

function checkTokenIds(tokens: unknown): void {
  const ids: unknown[] = Array.isArray(tokens) ? tokens : [];
  const isId = (id: unknown) => Number.isSafeInteger(id) && (id as number) >= 0;
  if (ids.length === 0 || new Set(ids).size !== ids.length || !ids.every(isId)) {
    throw new LoRAError(`tokens must be a list of different token ids, such as [4, 17], got ${show(tokens)}.`);
  }
}

function adapterOf(model: tf.LayersModel, config: LoRAConfig): Adapter {
  const adapted = applyLoRA(model, config);
  try {
    return getAdapter(adapted);
  } finally {
    disposeModel(adapted);
  }
}

/** `[vocabulary, width]` of a token embedding. */
export function tableShapeOf(layer: tf.layers.Layer): [number, number] {
  const [rows = 0, width = 0] = adaptationOf(layer)?.weights(layer)[0]?.variable.shape as number[];
  return [rows, width];
}

/** @throws LoRAError if the model has no such token embedding, or several and none is named. */
export function embeddingAmong(sites: readonly Site[], path: string | undefined): Site {
  const embeddings = sites.filter(({layer}) => adaptationOf(layer)?.form === 'lookUp');
  const [first, ...laterEmbeddings] = path === undefined ? embeddings : embeddings.filter(site => site.path === path);
  if (first === undefined || laterEmbeddings.length > 0) {
    throw misfitError(
      `${path === undefined ? 'Name the token embedding by {layer}' : `There is no Embedding ${show(path)}`}. The ` +
        `model has: ${listed(embeddings.map(site => show(site.path))) || 'none'}.`,
    );
  }
  return first;
}
