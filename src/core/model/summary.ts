import type * as tf from '@tensorflow/tfjs';
import {normsOf, parameterCounts} from '../layers/diagnostics';
import type {LoRALayer} from '../layers/loraLayer';
import {hasKernel, reasonNotAdaptable} from '../layers/registry';
import {baseOf, wrapperKind, type WrapperKind} from '../layers/layerMarks';
import {ORIGINAL} from '../layers/wrapperLayer';
import {recordOf} from '../rewire/record';
import {checkOptions} from '../../platform/errors';
import {type CallOptions, checkCallOptions, stepsOf, throwIfAborted} from '../../platform/signals';
import {shortName} from '../../platform/tfjs/configs';
import {countNumbers, namedWeights, type PackedVariable} from '../../platform/tfjs/weights';
import {adaptedSites, loraSites, type SkippedLayer, unsavedLayers} from './adapted';
import {frugalRank} from './plan';
import {count, countsLine, inColumns, fourDigits} from './table';

/** One adapted layer in a summary, or one kernel of a layer that has several. */
export interface LayerSummary {
  /** The name of the layer, after those of the models around it: `body/block1/dense`. */
  path: string;
  /** Name of the kernel, if the layer has several. */
  weight?: string;
  /** Class of the layer that is adapted. */
  className: string;
  /** The method, if not LoRA. */
  method?: string;
  /** Shape of its kernel. */
  kernelShape: number[];
  /** Rank of the update. */
  rank: number;
  /** The requested rank, if it was lowered: it would add nothing, or have as many values as the kernel. */
  cappedFrom?: number;
  /** The strength of the update. */
  alpha: number;
  /** The factor of the update: `alpha / rank`, or `alpha / √rank` with rank stabilization. */
  scaling: number;
  /** How many values of the layer train. */
  trainableParameters: number;
  /** Frobenius norm of the update, in a summary of `measureLoRA`. */
  deltaNorm?: number;
  /** Its ratio to the norm of the kernel, in a summary of `measureLoRA`. */
  deltaToKernelRatio?: number;
}

/** Which layers of a model are adapted, which are not, and how many parameters train. */
export interface LoRASummary {
  /** The adapted layers, in the order of the model. */
  layers: LayerSummary[];
  /** The layers with a kernel that are not adapted and do not train. */
  skipped: SkippedLayer[];
  /** Paths of the layers that train in full. */
  trainable: string[];
  /** Paths of the layers in which only the bias trains. */
  biases: string[];
  /** Plain layers that train and are not in the adapter, in a model that was put together by hand. */
  unsaved: SkippedLayer[];
  /** How many values train, in all layers. */
  trainableParameters: number;
  /** How many values the model has, including those of the adapter. */
  totalParameters: number;
  /** How many bytes of the weights stay in their file, of a model that was loaded with streamed weights. */
  streamedBytes?: number;
  /** The summary as a table. */
  toString(): string;
}

/**
 * Says what is adapted in a model and how many parameters train. Print it: `console.log(String(summarizeLoRA(model)))`.
 * It is synchronous and reads no values, so take it before training; `measureLoRA` also says what training changed.
 *
 * @param model an adapted model.
 * @returns the layers, their parameters, and what stays frozen.
 * @throws LoRAError `ERR_NOT_ADAPTED` if the model is not adapted.
 * @example
 *     console.log(String(summarizeLoRA(model)));
 */
export function summarizeLoRA(model: tf.LayersModel): LoRASummary {
  const sites = adaptedSites(model);
  const {capped} = recordOf(model);
  const skipped = sites
    .filter(({layer}) => wrapperKind(layer) === 'frozen' && hasKernel(layer))
    .map(({path, layer}) => ({
      path,
      className: shortName(baseOf(layer).getClassName()),
      reason: reasonNotAdaptable(baseOf(layer), false) ?? 'It is not among the targets.',
    }));
  const weights = new Set<PackedVariable>(sites.flatMap(({layer}) => layer.weights));
  const streamedBytes = [...weights].reduce((sum, weight) => sum + (weight.bytesInFile?.() ?? 0), 0);
  const pathsOf = (kind: WrapperKind) => sites.filter(({layer}) => wrapperKind(layer) === kind).map(({path}) => path);
  return printable({
    layers: loraSites(model).flatMap(({path, layer}) => summariesOf(path, layer, capped[path])),
    skipped,
    trainable: pathsOf('trained'),
    biases: pathsOf('bias'),
    unsaved: unsavedLayers(sites),
    trainableParameters: countNumbers(model.trainableWeights),
    // Originals that layers keep of trainable weights are not parameters of the model.
    totalParameters: sites.reduce((sum, {layer}) => sum + parametersOf(layer), 0),
    ...(streamedBytes > 0 && {streamedBytes}),
  });
}

/**
 * Summarizes as {@link summarizeLoRA}, with the norm of each update and its ratio to the norm of its kernel. Take it
 * after training, to see which layers changed and by how much; it waits for the device.
 *
 * @param model an adapted model.
 * @param options `signal` and `onProgress`.
 * @returns a promise, since the norms are read from the backend.
 * @throws LoRAError `ERR_NOT_ADAPTED` if the model is not adapted.
 * @example
 *     console.log(String(await measureLoRA(model)));
 */
export async function measureLoRA(model: tf.LayersModel, options: CallOptions = {}): Promise<LoRASummary> {
  checkOptions(options, {signal: true, onProgress: true});
  checkCallOptions(options);
  throwIfAborted(options.signal);
  const step = stepsOf(options);
  const {layers, ...totals} = summarizeLoRA(model); // before anything is awaited: another adapter may be set meanwhile
  const sites = loraSites(model);
  let done = 0;
  const report = () => step({done, total: sites.length, what: 'measuring layers'});
  const measuring = sites.map(async ({layer}) => {
    const ofLayer = await normsOf(layer);
    done++;
    await report();
    return ofLayer;
  });
  const norms = (await Promise.all(measuring)).flat();
  const measured = layers.map((row, i) => {
    const {deltaNorm, kernelNorm} = norms[i] ?? {deltaNorm: NaN, kernelNorm: NaN};
    return {...row, deltaNorm, deltaToKernelRatio: deltaNorm / kernelNorm};
  });
  return printable({...totals, layers: measured});
}

/** A summary that prints itself as a table. */
function printable(facts: Omit<LoRASummary, 'toString'>): LoRASummary {
  return {...facts, toString: () => format(facts)};
}

function summariesOf(path: string, layer: LoRALayer, askedRank: number | undefined): LayerSummary[] {
  const {updateParts: parts} = layer;
  const {trainableBase} = parameterCounts(layer);
  // An adapter that was set later may have a lower rank.
  const kernels = layer.adaptation.weights(layer.baseLayer);
  const capped =
    askedRank !== undefined && [layer.rankLimit, frugalRank(layer.method, kernels, askedRank)].includes(layer.rank);
  return parts.map(({weight, shape, rank, trainableParameters}, i) => ({
    path,
    ...(parts.length > 1 && {weight}),
    className: layer.layerConfig.className,
    ...(layer.method.name !== 'lora' && {method: layer.method.name}),
    kernelShape: shape,
    rank,
    ...(capped && {cappedFrom: askedRank}),
    alpha: layer.alpha,
    scaling: layer.scaling,
    // Trainable parameters of the base are counted with the first kernel.
    trainableParameters: trainableParameters + (i === 0 ? trainableBase : 0),
  }));
}

/** The parameters of a layer: its base's and its factors, without originals that it may keep. */
function parametersOf(layer: tf.layers.Layer): number {
  const weights = [...namedWeights(layer)].filter(([name]) => !name.startsWith(ORIGINAL));
  return countNumbers(weights.map(([, weight]) => weight));
}

function format({
  layers: rows,
  skipped,
  trainable,
  biases,
  unsaved,
  trainableParameters,
  totalParameters,
  streamedBytes = 0,
}: Omit<LoRASummary, 'toString'>): string {
  const withNorms = rows.some(({deltaNorm}) => deltaNorm !== undefined);
  const table = [
    ['layer', 'class', 'kernel', 'rank', 'alpha', 'trainable', ...(withNorms ? ['‖delta‖', '‖delta‖/‖W‖'] : [])],
    ...rows.map(row => [
      row.weight === undefined ? row.path : `${row.path}/${row.weight}`,
      row.method === undefined ? row.className : `${row.className}, ${row.method}`,
      row.kernelShape.join('×'),
      row.cappedFrom === undefined ? String(row.rank) : `${row.rank} (not ${row.cappedFrom})`,
      fourDigits(row.alpha),
      count(row.trainableParameters),
      ...(withNorms ? [fourDigits(row.deltaNorm ?? NaN), fourDigits(row.deltaToKernelRatio ?? NaN)] : []),
    ]),
  ];
  return [
    ...inColumns(table),
    ...(rows.some(({cappedFrom}) => cappedFrom !== undefined) ? [WHY_LOWERED] : []),
    ...skippedLines(skipped),
    ...(trainable.length > 0 ? [`trained in full: ${trainable.join(', ')}`] : []),
    ...(biases.length > 0 ? [`bias trained: ${biases.join(', ')}`] : []),
    ...unsaved.map(({path, className, reason}) => `not in the adapter: ${path} (${className}): ${reason}`),
    ...(streamedBytes > 0 ? [`streamed from the file: ${count(streamedBytes)} bytes`] : []),
    countsLine(trainableParameters, totalParameters),
  ].join('\n');
}

const WHY_LOWERED =
  '(not n): at rank n the update would add nothing, or have no fewer parameters than the kernel; name the layer ' +
  'to say otherwise';

/** A line for each reason. Layers of one class may differ in what follows its first sentence, such as shapes. */
function skippedLines(skipped: readonly SkippedLayer[]): string[] {
  const byReason = new Map<string, {reasons: Set<string>; paths: string[]}>();
  for (const {path, reason} of skipped) {
    const key = reason.replace(/\. .*$/s, '.');
    const group = byReason.get(key) ?? {reasons: new Set(), paths: []};
    byReason.set(key, {reasons: group.reasons.add(reason), paths: [...group.paths, path]});
  }
  return [...byReason].map(([key, {reasons, paths}]) => {
    const reason = reasons.size === 1 ? [...reasons].join('') : key;
    const more = paths.length - SHOWN;
    const names = paths.slice(0, SHOWN).join(', ');
    return `not adapted: ${names}${more > 0 ? ` and ${more} more` : ''}: ${reason}`;
  });
}

/** How many layers a line names. */
const SHOWN = 4;
