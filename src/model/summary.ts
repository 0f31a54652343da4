import type * as tf from '@tensorflow/tfjs';
import {normsOf, parameterCounts} from '../layers/diagnostics';
import {wrapperKind} from '../layers/wrapperLayer';
import {namedWeights} from '../layers/stock';
import {fans} from '../ops/factors';
import {adaptedSites, loraSites} from './adapted';
import {recordOf} from './record';

/** One adapted layer in a summary. */
export interface LayerSummary {
  path: string;
  /** Class of the layer that is adapted. */
  className: string;
  /** Shape of its kernel. */
  kernelShape: number[];
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

/** What is adapted in a model, and how much of it trains. */
export interface LoRASummary {
  layers: LayerSummary[];
  /** Paths of the layers that train in full. */
  trainable: string[];
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
  {norms = false}: SummaryOptions = {},
): LoRASummary | Promise<LoRASummary> {
  const sites = adaptedSites(model);
  const {capped} = recordOf(model);
  const layers = loraSites(model).map(({path, layer}): LayerSummary => {
    const {A, B} = layer.loraLayer;
    const limit = Math.min(...Object.values(fans([...A.shape.slice(0, -1), B.shape[1] ?? 1])));
    // Another adapter may have come in since, of a lower rank for reasons of its own.
    const cappedFrom = layer.rank === limit ? capped[path] : undefined;
    return {
      path,
      className: layer.layerConfig.className,
      kernelShape: [...A.shape.slice(0, -1), B.shape[1] ?? 1],
      rank: layer.rank,
      ...(cappedFrom !== undefined && {cappedFrom}),
      alpha: layer.alpha,
      scaling: layer.scaling,
      trainableParameters: parameterCounts(layer).trainable,
    };
  });
  const trainable = sites.filter(({layer}) => wrapperKind(layer) === 'trained').map(({path}) => path);
  const counts = {
    trainableParameters: countOf(model.trainableWeights),
    // The originals that layers keep beside weights that train are no parameters of the model.
    totalParameters: sites.reduce((sum, {layer}) => sum + parametersOf(layer), 0),
  };
  return norms ? withNorms(model, layers).then(complete) : complete(layers);

  function complete(rows: LayerSummary[]): LoRASummary {
    return {layers: rows, trainable, ...counts, toString: () => format(rows, trainable, counts)};
  }
}

async function withNorms(model: tf.LayersModel, rows: readonly LayerSummary[]): Promise<LayerSummary[]> {
  const norms = await Promise.all(loraSites(model).map(({layer}) => normsOf(layer)));
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
  trainable: readonly string[],
  {trainableParameters, totalParameters}: {trainableParameters: number; totalParameters: number},
): string {
  const withNorms = rows.some(({deltaNorm}) => deltaNorm !== undefined);
  const table = [
    ['layer', 'class', 'kernel', 'rank', 'alpha', 'trainable', ...(withNorms ? ['‖delta‖', '‖delta‖/‖W‖'] : [])],
    ...rows.map(row => [
      row.path,
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
    ...(trainable.length > 0 ? [`trained in full: ${trainable.join(', ')}`] : []),
    `trainable params: ${count(trainableParameters)} || all params: ${count(totalParameters)} || trainable%: ${share}`,
  ].join('\n');
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}

function short(value: number): string {
  return String(Number(value.toPrecision(4)));
}
