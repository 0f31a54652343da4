import * as tf from '@tensorflow/tfjs';
import {type Adapter, makeAdapter} from '../adapter/adapter';
import {tensorsByLayer} from '../adapter/layerTensors';
import {updateSpecs} from '../layers/adaptation';
import type {LayerConfig} from '../layers/layerConfig';
import {borrowing} from '../layers/borrowingLayer';
import {adaptationBy} from '../layers/registry';
import {baseOf} from '../layers/wrapperLayer';
import {fans} from '../ops/factors';
import {truncatedSVD} from '../ops/svd';
import {lora, resolveStrength} from '../methods/lora';
import type {AdaptableWeight} from '../methods/method';
import {methodOf} from '../methods/registry';
import {checkModel, type Site, sitesOf} from '../rewire/walk';
import {checkCount, checkOptions, unsupportedError} from '../../platform/errors';
import {type CallOptions, checkCallOptions, stepsOf} from '../../platform/signals';
import {Prepared} from '../../platform/tfjs/prepared';
import {biasesOf} from '../../platform/tfjs/weights';
import {checkFit} from './checkFit';
import {withAdapterOf} from './saveAdapter';

/** Options of `convertToLoRA`. */
export interface ConvertToLoRAOptions extends CallOptions {
  /** The highest rank of a layer. Default: 8. */
  rank?: number;
  /** The adapter to convert, which stays the caller's. Default: that of the model. */
  adapter?: Adapter;
}

/** An adapter that was converted, and what is lost. */
export interface ConvertedAdapter {
  /** The caller disposes of it, unless `applyLoRA(base, adapter)` takes it over. */
  adapter: Adapter;
  /** The norm of what is lost relative to that of the updates (Frobenius), over all layers that were converted. */
  error: number;
  /** The same for each layer, by path. */
  errors: Record<string, number>;
}

/**
 * Converts an adapter of any method to LoRA: DoRA, LoHa, LoKr, VeRA, IA³ and the others become plain factors, which
 * `exportGGUF`, `combineAdapters` and other programs take. The update of each weight is approximated as well as its
 * rank allows, by a singular value decomposition; layers with LoRA of at most that rank stay as they are. A bias that
 * IA³ scales becomes a trained bias of the adapter.
 *
 * @param model the adapted model, or with `{adapter}` also its plain base. What DoRA and IA³ change depends on its
 *     kernels. It stays as it is.
 * @param options the rank, and another adapter.
 * @returns the adapter, and the error that is left: 0.1 means that a tenth of the update is lost, by its norm.
 * @throws LoRAError of code `ERR_NOT_ADAPTED` if the model is not adapted and no adapter is given, `ERR_MISFIT` if the
 *     adapter does not fit the model, `ERR_UNSUPPORTED` if tokens train that a tied head computes with, `ERR_OPTION` if
 *     an option is not in its range, `ERR_ABORTED`.
 * @example
 *     const {adapter, error} = await convertToLoRA(model, {rank: 16});
 *     console.log(`${(100 * error).toFixed(1)} % of the update is lost`);
 */
export async function convertToLoRA(
  model: tf.LayersModel,
  options: ConvertToLoRAOptions = {},
): Promise<ConvertedAdapter> {
  checkOptions(options, {rank: true, adapter: true, signal: true, onProgress: true});
  const {rank = 8, adapter} = options;
  checkCount('rank', rank);
  checkCallOptions(options);
  checkModel(model);
  return withAdapterOf(adapter ?? model, take => convert(take(), model, {...options, rank}));
}

/** What is known about the update of one weight. */
interface Found {
  path: string;
  squaredError: number;
  squaredNorm: number;
}

async function convert(
  adapter: Adapter,
  model: tf.LayersModel,
  {rank, ...call}: CallOptions & {rank: number},
): Promise<ConvertedAdapter> {
  const sites = sitesOf(model);
  checkFit(adapter, sites);
  const {config} = adapter;
  const step = stepsOf(call);
  const layers: Record<string, LayerConfig> = {};
  const tensors = {...adapter.tensors};
  const made: Record<string, tf.Tensor> = {};
  const found: Found[] = [];
  const {updates} = tensorsByLayer(adapter);
  const adapted = sites.filter(({path}) => Object.hasOwn(config.layers, path));
  try {
    for (const [done, site] of adapted.entries()) {
      await step({done, total: adapted.length, what: 'converting layers'});
      const {path} = site;
      const {method: name, share: _, tokens: __, ...layer} = config.layers[path] as LayerConfig;
      const method = methodOf(name);
      const borrower =
        method.reachesBorrowers && sites.find(each => borrowing(baseOf(each.layer))?.lender === site.layer);
      if (borrower) {
        throw unsupportedError(
          `"${borrower.path}" uses the tokens that train in "${path}", and LoRA cannot update both. Merge the ` +
            'adapter instead.',
        );
      }
      if (method.parametersOf !== undefined && layer.rank <= rank) {
        layers[path] = layer; // LoRA, or a variant whose parameters are the same
        found.push({path, squaredError: 0, squaredNorm: 0});
        continue;
      }
      const specs = specsOf(site, config.layers[path] as LayerConfig);
      let highest = 1;
      for (const {weight, prefix} of specs) {
        const {parameters = {}} = updates.get(`${path}/${prefix}`) ?? {};
        const delta = deltaOf(parameters, config.layers[path] as LayerConfig, weight);
        try {
          const [specA, specB] = lora.parameters(weight, rank, {});
          const ownRank = specB?.shape[0] ?? 1;
          const {a, b, ...norms} = await factorsOf(delta, ownRank, weight.outAxes);
          made[`${path}/${prefix}lora_A`] = tf.reshape(a, specA?.shape ?? []);
          made[`${path}/${prefix}lora_B`] = tf.reshape(b, specB?.shape ?? []);
          tf.dispose([a, b]);
          highest = Math.max(highest, ownRank);
          found.push({path, ...norms});
        } finally {
          delta.dispose();
        }
        method.parameterNames.forEach(parameter => Reflect.deleteProperty(tensors, `${path}/${prefix}${parameter}`));
      }
      const biases = method.mergeBias === undefined ? [] : [...biasesOf(baseOf(site.layer))];
      for (const [bias, variable] of biases) {
        const {parameters = {}} = updates.get(`${path}/`) ?? {};
        const current = tensors[`${path}/${bias}`] ?? variable.read();
        made[`${path}/${bias}`] = tf.tidy(
          () => method.mergeBias?.(current, parameters, resolveStrength(config.layers[path] as LayerConfig)) ?? current,
        );
      }
      layers[path] = {
        ...layer,
        ...{rank: highest, alpha: highest, rankStabilized: false},
        ...(biases.length > 0 && layer.freezeBaseLayer && {trainBias: true}),
      };
    }
  } catch (error) {
    tf.dispose(made);
    throw error;
  }
  const kept = Object.entries(tensors).filter(([name]) => !(name in made));
  const copies = Object.fromEntries(kept.map(([name, tensor]) => [name, tf.clone(tensor)]));
  const errors = Object.fromEntries(
    Object.keys(layers).map(path => [path, lostIn(found.filter(of => of.path === path))]),
  );
  return {adapter: makeAdapter({...config, layers}, {...copies, ...made}), error: lostIn(found), errors};
}

function specsOf({layer}: Site, config: LayerConfig) {
  const weights = adaptationBy(config, layer)?.weights(baseOf(layer)) ?? [];
  return updateSpecs(methodOf(config.method), weights, config.rank);
}

/** What an update adds to a weight. */
function deltaOf(parameters: Record<string, tf.Tensor>, config: LayerConfig, weight: AdaptableWeight): tf.Tensor {
  const method = methodOf(config.method);
  const strength = resolveStrength(config);
  const prepared = new Prepared();
  try {
    return tf.tidy(
      () =>
        method.delta?.(parameters, strength) ??
        tf.sub(method.merge(parameters, strength, {weight, takesGain: false, prepared}), weight.variable.read()),
    );
  } finally {
    prepared.dispose();
  }
}

/** The best factors of a rank, and the squared norms of what they lose and of the whole. */
async function factorsOf(delta: tf.Tensor, rank: number, outAxes = 1) {
  const {fanIn, fanOut} = fans(delta.shape, outAxes);
  const matrix = tf.reshape<tf.Rank.R2>(delta, [fanIn, fanOut]);
  const svd = await truncatedSVD([matrix], rank);
  const {a, b, norms} = tf.tidy(() => {
    const roots = tf.sqrt(svd.s);
    const a = tf.mul<tf.Tensor2D>(svd.u, roots);
    const b = tf.transpose(tf.mul<tf.Tensor2D>(svd.v, roots));
    const lost = tf.sum(tf.square(tf.sub(matrix, tf.matMul(a, b))));
    return {a, b, norms: tf.stack([lost, tf.sum(tf.square(matrix))])};
  });
  const [squaredError = NaN, squaredNorm = NaN] = await norms.data();
  tf.dispose([norms, matrix, svd.u, svd.s, svd.v]);
  return {a, b, squaredError, squaredNorm};
}

/** The share that is lost. Nothing is lost of an update that is zero. */
function lostIn(found: readonly Found[]): number {
  const [error, norm] = (['squaredError', 'squaredNorm'] as const).map(name =>
    found.reduce((sum, of) => sum + of[name], 0),
  ) as [number, number];
  return norm > 0 ? Math.sqrt(error / norm) : 0;
}
