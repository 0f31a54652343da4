import * as tf from '@tensorflow/tfjs';
import {type Adapter, isAdapter, layerConfigAt} from '../adapter/adapter';
import {checkAdapter} from '../adapter/checkAdapter';
import {checkBase} from '../adapter/base';
import {listed} from '../../platform/errors';
import {withHead} from '../head/replaceHead';
import {loraClassOf} from '../layers/registry';
import {BiasLayer, FrozenLayer, TrainedLayer} from '../layers/unadaptedLayer';
import {isLoRALayer, type LoRALayer} from '../layers/loraLayer';
import {baseOf} from '../layers/layerMarks';
import {isWrapper} from '../layers/wrapperLayer';
import {initializerEntry, isPrincipal} from '../methods/initializer';
import type {SharedSide} from '../methods/method';
import {adopt, disposeModel} from '../rewire/dispose';
import {carryMetadata, makeRecord} from '../rewire/record';
import {rewire} from '../rewire/rewire';
import {type Site} from '../rewire/walk';
import {checkModel} from '../../platform/tfjs/checkModel';
import type {LayerEntry} from '../../platform/tfjs/configs';
import {replaceValue, shareWeights} from '../../platform/tfjs/weights';
import {adapterVariables, expectUse, loraSites} from './adapted';
import {checkFit} from './checkFit';
import type {LoRAConfig, UncheckedConfig} from './config';
import {checkPlan, linesOf, type Plan} from './plan';
import {adaptableSites, planFor} from './planLoRA';

/**
 * Adapts a pretrained model: a new model in which the chosen layers have a trainable low-rank update and all others are
 * frozen. It computes exactly what the original computes, until it is trained; compile it and train it with `fit`.
 *
 * The original is not touched. Training it with `fit` or `trainOnBatch` warns once if the new model is neither compiled
 * nor called by then. Frozen weights share their buffers with it; each model is disposed by itself.
 *
 * A given adapter stays usable. `disposeModel` of the new model disposes of the adapter too; if several models were
 * made with it, the last one does. So `applyLoRA(base, await loadAdapter(url))` leaks nothing. To keep an adapter
 * longer than its models, set it with `setAdapter`, which leaves it to the caller. A warning says if an adapter from a
 * file was trained on another base; on webgpu, which reads tensors by a promise alone, only `loadAdapter(source,
 * {model})` can tell.
 *
 * @param model any `tf.LayersModel`: functional, sequential, nested, with shared layers, several inputs and outputs,
 *     `TimeDistributed`.
 * @param configOrAdapter what to adapt, and how; or an adapter, whose layers are adapted and whose values are set.
 *     `planLoRA` shows the effect of a config.
 * @returns the adapted model, which is the caller's to dispose of.
 * @throws LoRAError `ERR_OPTION` if the config is malformed, `ERR_MISFIT` if it names something that is not there or
 *     the adapter does not fit, `ERR_NOT_ADAPTED` if the model is adapted already, `ERR_NOT_READY` if it is not built,
 *     `ERR_UNSUPPORTED` or `ERR_DAMAGED` if a layer cannot be rebuilt from its config. The error lists all faults, and
 *     nothing changes.
 * @example
 *     const model = applyLoRA(base, {rank: 8, targets: ['dense_1', /^block/]});
 *     model.compile({optimizer: adam({learningRate: 1e-3}), loss: 'meanSquaredError'});
 *     await model.fit(xs, ys);
 */
export function applyLoRA(model: tf.LayersModel, configOrAdapter: LoRAConfig | Adapter = {}): tf.LayersModel {
  checkModel(model);
  if (!isAdapter(configOrAdapter)) {
    const sites = adaptableSites(model);
    const plan = planFor(model, sites, configOrAdapter);
    checkPlan(plan, sites);
    reportCapped(plan);
    if (configOrAdapter.targets === 'all') {
      reportSkipped(plan);
    }
    return build(model, sites, plan, configOrAdapter);
  }
  checkAdapter(configOrAdapter);
  const headed = withHead(model, configOrAdapter);
  try {
    const adapted = applyAdapter(headed, configOrAdapter);
    adopt(adapted, configOrAdapter);
    return adapted;
  } finally {
    if (headed !== model) {
      disposeModel(headed);
    }
  }
}

function applyAdapter(model: tf.LayersModel, adapter: Adapter): tf.LayersModel {
  const sites = adaptableSites(model);
  checkFit(adapter, sites);
  checkBase(adapter, sites);
  const adapted = build(model, sites, {config: adapter.config, capped: {}}, {}, false);
  for (const [name, variable] of adapterVariables(adapted)) {
    const value = adapter.tensors[name];
    if (value !== undefined) {
      replaceValue(variable, value);
    }
  }
  return adapted;
}

function build(
  model: tf.LayersModel,
  sites: readonly Site[],
  {config, capped}: Pick<Plan, 'config' | 'capped'>,
  {init, seed}: Pick<UncheckedConfig, 'init' | 'seed'>,
  /** Whether updates start from their base's weights. If not, they get their values later. */
  begins = true,
): tf.LayersModel {
  const paths = Object.keys(config.layers);
  const trained = new Set(config.trainable);
  const biased = new Set(config.biases);
  const record = JSON.stringify(makeRecord(model, capped, config.head));
  const keeper = sites.find(
    ({path, layer}) => layerConfigAt(config, path) !== undefined || trained.has(path) || FrozenLayer.gains(layer),
  );

  const replace = ({path, layer}: Site, entry: LayerEntry): LayerEntry => {
    const {batchInputShape, dtype, name} = entry.config;
    const outer = {
      name: name as string,
      ...(batchInputShape !== undefined && {batchInputShape}),
      ...(dtype !== undefined && {dtype}),
      layer: {...entry},
      ...(path === keeper?.path && {record: {name: record}}),
    };
    const update = layerConfigAt(config, path);
    if (update !== undefined) {
      const {className, weights: named, ...strength} = update;
      const kind = loraClassOf(layer.getClassName(), named);
      const weights = kind?.weights?.map(weight => ({...weight}));
      const wrapperArgs = {
        ...outer,
        ...strength,
        ...(weights && {weights}),
        keepOriginal: !update.freezeBaseLayer || update.trainBias === true,
        ...(init !== undefined && !isPrincipal(init) && {initializer: initializerEntry(init)}),
        ...(seed !== undefined && {seed: seed + paths.indexOf(path)}),
      };
      return {className: kind?.className ?? className, config: wrapperArgs};
    }
    if (trained.has(path)) {
      return {className: TrainedLayer.className, config: {...outer, keepOriginal: true}};
    }
    if (biased.has(path)) {
      return {className: BiasLayer.className, config: {...outer, keepOriginal: true}};
    }
    return FrozenLayer.gains(layer) ? {className: FrozenLayer.className, config: outer} : entry;
  };

  const transfer = ({layer}: Site, replacement: tf.layers.Layer) => {
    shareWeights(layer, baseOf(replacement));
    if (isWrapper(replacement)) {
      replacement.markOriginal();
    }
    if (begins && isLoRALayer(replacement)) {
      replacement.update.begin();
    }
  };

  const adapted = rewire(model, {replace, transfer});
  if (begins) {
    shareParameters(loraSites(adapted).map(({layer}) => layer));
  }
  carryMetadata(model, adapted);
  expectUse(model, adapted);
  return adapted;
}

/** Nobody requested the default rank, nor `'all'` a rank in each small layer: there only the summary says it. */
function reportCapped({config, capped, askedFor}: Plan): void {
  const lines = askedFor.map(
    path => `${path}: ${layerConfigAt(config, path)?.rank ?? 0} instead of ${capped[path] ?? 0}`,
  );
  if (lines.length > 0) {
    console.warn(`A rank above min(fan-in, fan-out) adds nothing. Lowered, with the same scaling: ${listed(lines)}.`);
  }
}

function reportSkipped({skipped}: Plan): void {
  const lines = linesOf(skipped);
  if (lines.length > 0) {
    console.warn(`Left as they are:\n${lines.join('\n')}`);
  }
}

/** Fills parameters that all layers of one rank share with the first part of the largest, which is drawn already. */
function shareParameters(layers: readonly LoRALayer[]): void {
  const groups = new Map<string, {side: SharedSide; variables: tf.LayerVariable[]}>();
  for (const layer of layers) {
    for (const {name, side, variable} of layer.update.shared()) {
      const key = `${name}, rank ${layer.rank}`;
      groups.set(key, {side, variables: [...(groups.get(key)?.variables ?? []), variable]});
    }
  }
  tf.tidy(() => {
    for (const {side, variables} of groups.values()) {
      const matrixOf = (variable: tf.LayerVariable) => {
        const x = variable.read();
        return tf.reshape(x, side === 'rows' ? [-1, x.shape.at(-1) ?? 1] : [x.shape[0], -1]);
      };
      const [largest, ...smaller] = [...variables].sort((one, other) => other.read().size - one.read().size);
      const largestMatrix = matrixOf(largest as tf.LayerVariable);
      for (const variable of smaller) {
        const {shape} = matrixOf(variable);
        replaceValue(variable, tf.reshape(tf.slice(largestMatrix, [0, 0], shape), variable.read().shape));
      }
    }
  });
}
