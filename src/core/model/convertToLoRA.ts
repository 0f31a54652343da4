import * as tf from '@tensorflow/tfjs';
import {type Adapter, makeAdapter} from '../adapter/adapter';
import {tensorsByLayer} from '../adapter/layerTensors';
import type {LayerConfig} from '../layers/layerConfig';
import {borrowing} from '../layers/borrowingLayer';
import {baseOf} from '../layers/layerMarks';
import {fans} from '../ops/factors';
import {truncatedSVD} from '../ops/svd';
import {lora, resolveStrength} from '../methods/lora';
import type {AdaptableWeight} from '../methods/method';
import {methodOf} from '../methods/registry';
import {type Site, sitesOf} from '../rewire/walk';
import {checkModel} from '../../platform/tfjs/checkModel';
import {checkCount, checkOptions, unsupportedError} from '../../platform/errors';
import {type CallOptions, checkCallOptions, stepsOf} from '../../platform/signals';
import {Prepared} from '../../platform/tfjs/prepared';
import {biasesOf} from '../../platform/tfjs/weights';
import {checkFit, updatesOf} from './checkFit';
import {withAdapterOf} from './saveMerged';

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
 * @experimental
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

/** The LoRA update of a layer, which replaces that of another method. */
interface ConvertedLayer {
  config: LayerConfig;
  /** New tensors, by their names in the adapter. */
  tensors: Record<string, tf.Tensor>;
  /** The names of tensors that are no longer needed. */
  replaced: readonly string[];
  losses: readonly Loss[];
}

/** The squared norms of what is lost of the update of a weight, and of the update. */
interface Loss {
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
  const {updates} = tensorsByLayer(adapter);
  const parametersAt = (at: string) => updates.get(at)?.parameters ?? {};
  const adapted = sites.filter(({path}) => Object.hasOwn(config.layers, path));
  const converted = new Map<string, ConvertedLayer>();
  try {
    for (const [done, site] of adapted.entries()) {
      await step({done, total: adapted.length, what: 'converting layers'});
      const layerConfig = config.layers[site.path] as LayerConfig;
      refuseBorrower(site, layerConfig, sites);
      converted.set(site.path, await convertLayer(site, layerConfig, {rank, adapter, parametersAt}));
    }
  } catch (error) {
    tf.dispose([...converted.values()].map(({tensors}) => tensors));
    throw error;
  }
  const layers = [...converted.values()];
  const made = Object.fromEntries(layers.flatMap(({tensors}) => Object.entries(tensors)));
  const replaced = new Set([...Object.keys(made), ...layers.flatMap(layer => layer.replaced)]);
  const unchanged = Object.entries(adapter.tensors).filter(([name]) => !replaced.has(name));
  const copies = Object.fromEntries(unchanged.map(([name, tensor]) => [name, tf.clone(tensor)]));
  const ofLayers = <T>(f: (layer: ConvertedLayer) => T) =>
    Object.fromEntries([...converted].map(([path, layer]) => [path, f(layer)]));
  return {
    adapter: makeAdapter({...config, layers: ofLayers(layer => layer.config)}, {...copies, ...made}),
    error: lostIn(layers.flatMap(({losses}) => losses)),
    errors: ofLayers(({losses}) => lostIn(losses)),
  };
}

/** Refuses a layer whose update reaches a second layer that borrows the weight. */
function refuseBorrower({path, layer}: Site, {method}: LayerConfig, sites: readonly Site[]): void {
  const borrower =
    methodOf(method).reachesBorrowers && sites.find(candidate => borrowing(baseOf(candidate.layer))?.lender === layer);
  if (borrower) {
    throw unsupportedError(
      `"${borrower.path}" uses the tokens that train in "${path}", and LoRA cannot update both. Merge the ` +
        'adapter instead.',
    );
  }
}

async function convertLayer(
  site: Site,
  layerConfig: LayerConfig,
  {
    rank,
    adapter,
    parametersAt,
  }: {rank: number; adapter: Adapter; parametersAt: (at: string) => Record<string, tf.Tensor>},
): Promise<ConvertedLayer> {
  const {method: name, share: _, tokens: __, ...config} = layerConfig;
  const method = methodOf(name);
  if (method.parametersOf !== undefined && config.rank <= rank) {
    return {config, tensors: {}, replaced: [], losses: []}; // LoRA, or a variant whose parameters are the same
  }
  const {path, layer} = site;
  const weights = updatesOf(site, layerConfig).map(({weight, prefix}) => ({weight, at: `${path}/${prefix}`}));
  const tensors: Record<string, tf.Tensor> = {};
  const losses: Loss[] = [];
  let highest = 1;
  try {
    for (const {weight, at} of weights) {
      const {a, b, ...loss} = await convertUpdate(parametersAt(at), layerConfig, {weight, rank});
      Object.assign(tensors, {[`${at}lora_A`]: a, [`${at}lora_B`]: b});
      highest = Math.max(highest, b.shape[0]);
      losses.push(loss);
    }
    const biases = method.mergeBias === undefined ? [] : [...biasesOf(baseOf(layer))];
    for (const [bias, variable] of biases) {
      const current = adapter.tensors[`${path}/${bias}`] ?? variable.read();
      const strength = resolveStrength(layerConfig);
      tensors[`${path}/${bias}`] = tf.tidy(
        () => method.mergeBias?.(current, parametersAt(`${path}/`), strength) ?? current,
      );
    }
    const trainsBias = biases.length > 0 && config.freezeBaseLayer;
    return {
      config: {
        ...config,
        ...{rank: highest, alpha: highest, rankStabilized: false},
        ...(trainsBias && {trainBias: true}),
      },
      tensors,
      replaced: weights.flatMap(({at}) => method.parameterNames.map(parameter => at + parameter)),
      losses,
    };
  } catch (error) {
    tf.dispose(tensors);
    throw error;
  }
}

/** The factors of the rank that a weight can use, in its shapes, for an update of it, and what is lost. */
async function convertUpdate(
  parameters: Record<string, tf.Tensor>,
  layerConfig: LayerConfig,
  {weight, rank}: {weight: AdaptableWeight; rank: number},
): Promise<{a: tf.Tensor; b: tf.Tensor} & Loss> {
  const delta = deltaOf(parameters, layerConfig, weight);
  try {
    const [specA, specB] = lora.parameters(weight, rank, {});
    const {a, b, ...loss} = await factorsOf(delta, specB?.shape[0] ?? 1, weight.outAxes);
    const shaped = {a: tf.reshape(a, specA?.shape ?? []), b: tf.reshape(b, specB?.shape ?? [])};
    tf.dispose([a, b]);
    return {...shaped, ...loss};
  } finally {
    delta.dispose();
  }
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
function lostIn(losses: readonly Loss[]): number {
  const [error, norm] = (['squaredError', 'squaredNorm'] as const).map(name =>
    losses.reduce((sum, loss) => sum + loss[name], 0),
  ) as [number, number];
  return norm > 0 ? Math.sqrt(error / norm) : 0;
}
