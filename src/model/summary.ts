import type * as tf from '@tensorflow/tfjs';
import {refuseOthers} from '../errors';
import {normsOf, parameterCounts} from '../layers/diagnostics';
import type {LoRALayer} from '../layers/loraLayer';
import {hasKernel, reasonNotAdaptable} from '../layers/registry';
import {baseOf, wrapperKind, type WrapperKind} from '../layers/wrapperLayer';
import {recordOf} from '../rewire/record';
import {namedWeights} from '../tfjs/weights';
import {adaptedSites, loraSites} from './adapted';

/** One adapted layer in a summary, or one kernel of a layer that has several. */
export interface LayerSummary {
  path: string;
  /** Name of the kernel, where the layer has several. */
  weight?: string;
  /** Class of the layer that is adapted. */
  className: string;
  /** Shape of its kernel. */
  kernelShape: number[];
  /** Rank of the update. */
  rank: number;
  /** The rank that was asked for, where it was more than the kernel can hold. */
  cappedFrom?: number;
  alpha: number;
  scaling: number;
  trainableParameters: number;
  /** Frobenius norm of the update, if norms were asked for. */
  deltaNorm?: number;
  /** Its ratio to the norm of the kernel, if norms were asked for. */
  deltaToKernelRatio?: number;
}

/** A layer with a kernel that is frozen as it is. */
export interface LeftLayer {
  path: string;
  className: string;
  /** Why it is not adapted, as the rest of a sentence about it. */
  reason: string;
}

/** What is adapted in a model, what is not, and how much of it trains. */
export interface LoRASummary {
  layers: LayerSummary[];
  /** The layers with a kernel that are not adapted and do not train. */
  left: LeftLayer[];
  /** Paths of the layers that train in full. */
  trainable: string[];
  /** Paths of the layers of which the bias alone trains. */
  biases: string[];
  trainableParameters: number;
  totalParameters: number;
  /** The summary as a table. */
  toString(): string;
}

/** What a summary holds. */
export interface SummaryOptions {
  /** Compute the norms of the updates. They have to be read from the backend, so the result is a promise. */
  norms?: boolean;
}

/**
 * Says what is adapted in a model and how many parameters train. Print it: `console.log(String(summarizeLoRA(model)))`.
 *
 * @throws LoRAError if the model is not adapted.
 */
export function summarizeLoRA(model: tf.LayersModel): LoRASummary;
export function summarizeLoRA(model: tf.LayersModel, options: {norms: true}): Promise<LoRASummary>;
export function summarizeLoRA(model: tf.LayersModel, options: SummaryOptions): LoRASummary | Promise<LoRASummary>;
export function summarizeLoRA(
  model: tf.LayersModel,
  {norms = false, ...others}: SummaryOptions = {},
): LoRASummary | Promise<LoRASummary> {
  refuseOthers(others, ['norms']);
  const sites = adaptedSites(model);
  const {capped} = recordOf(model);
  const layers = loraSites(model).flatMap(({path, layer}) => rowsOf(path, layer, capped[path]));
  const left = sites
    .filter(({layer}) => wrapperKind(layer) === 'frozen' && hasKernel(layer))
    .map(({path, layer}) => ({path, className: baseOf(layer).getClassName(), reason: reasonLeft(baseOf(layer))}));
  const pathsOf = (kind: WrapperKind) => sites.filter(({layer}) => wrapperKind(layer) === kind).map(({path}) => path);
  const whole = {left, trainable: pathsOf('trained'), biases: pathsOf('bias')};
  const counts = {
    trainableParameters: countOf(model.trainableWeights),
    // The originals that layers keep beside weights that train are no parameters of the model.
    totalParameters: sites.reduce((sum, {layer}) => sum + parametersOf(layer), 0),
  };
  return norms ? withNorms(model, layers).then(complete) : complete(layers);

  function complete(rows: LayerSummary[]): LoRASummary {
    return {layers: rows, ...whole, ...counts, toString: () => format(rows, whole, counts)};
  }
}

function rowsOf(path: string, layer: LoRALayer, askedRank: number | undefined): LayerSummary[] {
  const {lowRankParts: parts} = layer;
  const {trainableBase} = parameterCounts(layer);
  // Another adapter may have come in since, of a lower rank for reasons of its own.
  const capped = layer.rank === layer.rankLimit;
  return parts.map(({weight, A, B, trainableParameters}, i) => ({
    path,
    ...(parts.length > 1 && {weight}),
    className: layer.layerConfig.className,
    kernelShape: [...A.shape.slice(0, -1), ...B.shape.slice(1)],
    rank: B.shape[0],
    ...(capped && askedRank !== undefined && {cappedFrom: askedRank}),
    alpha: layer.alpha,
    scaling: layer.scaling,
    // What trains of the base is counted with the first kernel.
    trainableParameters: trainableParameters + (i === 0 ? trainableBase : 0),
  }));
}

function reasonLeft(layer: tf.layers.Layer): string {
  return reasonNotAdaptable(layer, false) ?? 'is not among the targets.';
}

async function withNorms(model: tf.LayersModel, rows: readonly LayerSummary[]): Promise<LayerSummary[]> {
  const norms = (await Promise.all(loraSites(model).map(({layer}) => normsOf(layer)))).flat();
  return rows.map((row, i) => {
    const {deltaNorm, kernelNorm} = norms[i] ?? {deltaNorm: NaN, kernelNorm: NaN};
    return {...row, deltaNorm, deltaToKernelRatio: deltaNorm / kernelNorm};
  });
}

/** The numbers in a layer: its base's and its factors, without the originals that it may keep. */
function parametersOf(layer: tf.layers.Layer): number {
  const weights = [...namedWeights(layer)].filter(([name]) => !name.startsWith('original_'));
  return countOf(weights.map(([, weight]) => weight));
}

function countOf(weights: Iterable<tf.LayerVariable>): number {
  let count = 0;
  for (const weight of new Set(weights)) {
    count += weight.read().size;
  }
  return count;
}

function format(
  rows: readonly LayerSummary[],
  {left, trainable, biases}: Pick<LoRASummary, 'left' | 'trainable' | 'biases'>,
  {trainableParameters, totalParameters}: {trainableParameters: number; totalParameters: number},
): string {
  const withNorms = rows.some(({deltaNorm}) => deltaNorm !== undefined);
  const table = [
    ['layer', 'class', 'kernel', 'rank', 'alpha', 'trainable', ...(withNorms ? ['‖delta‖', '‖delta‖/‖W‖'] : [])],
    ...rows.map(row => [
      row.weight === undefined ? row.path : `${row.path}/${row.weight}`,
      row.className,
      row.kernelShape.join('×'),
      row.cappedFrom === undefined ? String(row.rank) : `${row.rank} (not ${row.cappedFrom})`,
      short(row.alpha),
      count(row.trainableParameters),
      ...(withNorms ? [short(row.deltaNorm ?? NaN), short(row.deltaToKernelRatio ?? NaN)] : []),
    ]),
  ];
  const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map(cells => cells[column]?.length ?? 0)));
  const lines = table.map(cells =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  const share = ((100 * trainableParameters) / totalParameters).toFixed(4);
  return [
    ...lines,
    ...leftLines(left),
    ...(trainable.length > 0 ? [`trained in full: ${trainable.join(', ')}`] : []),
    ...(biases.length > 0 ? [`bias trained: ${biases.join(', ')}`] : []),
    `trainable params: ${count(trainableParameters)} || all params: ${count(totalParameters)} || trainable%: ${share}`,
  ].join('\n');
}

/** A line for each reason. */
function leftLines(left: readonly LeftLayer[]): string[] {
  const byReason = new Map<string, string[]>();
  for (const {path, reason} of left) {
    byReason.set(reason, [...(byReason.get(reason) ?? []), path]);
  }
  return [...byReason].map(([reason, paths]) => {
    const more = paths.length - SHOWN;
    const names = paths.slice(0, SHOWN).join(', ');
    return `not adapted: ${names}${more > 0 ? ` and ${more} more` : ''}: ${reason}`;
  });
}

/** How many layers a line names. */
const SHOWN = 4;

function count(value: number): string {
  return value.toLocaleString('en-US');
}

function short(value: number): string {
  return String(Number(value.toPrecision(4)));
}
