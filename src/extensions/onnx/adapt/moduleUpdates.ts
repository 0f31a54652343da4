import * as tf from '@tensorflow/tfjs';
import {LoRAError, throwFaults, unsupportedError} from '../../../platform/errors';
import type {Values} from '../../../platform/formats/layout';
import type {CallOptions} from '../../../platform/signals';
import {type Adapter, isAdapter, layerConfigAt} from '../../../core/adapter/adapter';
import {asLoRA} from '../../../core/adapter/asLoRA';
import {tensorsByLayer} from '../../../core/adapter/layerTensors';
import {resolveStrength, scalingOf} from '../../../core/methods/lora';
import {methodOf} from '../../../core/methods/registry';
import {fromTorchUpdate} from '../../../core/peft/methods/update';
import {parsePEFT, type TorchModule} from '../../../core/peft/parsePeft';
import {Budget} from '../../../core/peft/patternTable';
import {type PEFTSource, readPEFT} from '../../../core/peft/readPeft';
import type {LoadOptions} from '../../../core/storage/limits';

/** The update of a module: `y + (x·A)·B`, whose `B` contains the scaling. */
export interface ModuleUpdate {
  /** The path of the module in PyTorch. */
  path: string;
  /** `[in, rank]`. */
  a: Values;
  /** `[rank, out]`. */
  b: Values;
}

const TITLE = 'Only plain updates A·B of linear modules can stand beside the products of a file:';

/**
 * The updates of an adapter of ours, or of PEFT.
 *
 * @throws LoRAError of code `ERR_UNSUPPORTED` with a line for each part of the adapter that is no product.
 */
export async function moduleUpdates(
  adapter: Adapter | PEFTSource,
  limits: LoadOptions & CallOptions,
): Promise<ModuleUpdate[]> {
  return isAdapter(adapter) ? updatesOfAdapter(adapter) : updatesOfPEFT(adapter, limits);
}

async function updatesOfPEFT(source: PEFTSource, limits: LoadOptions & CallOptions): Promise<ModuleUpdate[]> {
  const warn = (message: string) => console.warn(message);
  const {init, modules} = await parsePEFT(await readPEFT(source, limits), warn, new Budget());
  if (init !== undefined) {
    throw unsupportedError(
      `The adapter was trained with init_lora_weights=${init}, which changes the base. Save it in Python as plain ` +
        'LoRA, by save_pretrained with path_initial_model_for_weight_conversion.',
    );
  }
  const faults = [...modules].flatMap(([path, module]) => {
    const fault = faultOf(module);
    return fault === undefined ? [] : [`${path}: ${fault}`];
  });
  throwFaults(faults, 'ERR_UNSUPPORTED', TITLE);
  return [...modules].flatMap(([path, {update}]) => {
    if (update === undefined) {
      return [];
    }
    const {a, b, strength} = fromTorchUpdate(update);
    const scaling = scalingOf(strength);
    return [{path, a, b: {shape: b.shape, data: b.data.map(value => value * scaling)}}];
  });
}

/** Why what PEFT stores of a module is no product beside another. */
function faultOf({update, stored, base, bias, tokens, saved}: TorchModule): string | undefined {
  const axes = update?.a.shape.length ?? 2;
  const parts: (string | false)[] = [
    stored !== undefined && 'its method is not LoRA',
    update?.magnitude !== undefined && 'DoRA rescales the outputs by norms that depend on the base',
    (bias ?? update?.bias) !== undefined && 'its bias is part of the adapter',
    (saved.size > 0 || base !== undefined) && 'it is saved whole',
    (tokens !== undefined || update?.embedding === true) && 'it is a table of embeddings',
    axes !== 2 && `its update has ${axes} axes`,
  ];
  const reasons = parts.filter(reason => reason !== false);
  return reasons.length === 0
    ? undefined
    : `${reasons.join(', and ')}. Merge it, or load it with loadAdapter and convert it with convertToLoRA.`;
}

async function updatesOfAdapter(adapter: Adapter): Promise<ModuleUpdate[]> {
  const converted = asLoRA(adapter);
  try {
    const {config} = converted;
    const {updates} = tensorsByLayer(converted);
    const faults = [
      ...config.trainable.map(path => `${path}: it is trained whole.`),
      ...(config.biases ?? []).map(path => `${path}: its bias is part of the adapter.`),
    ];
    const plain: {path: string; a: tf.Tensor; b: tf.Tensor; scaling: number}[] = [];
    for (const {path, prefix, parameters} of updates.values()) {
      const layer = layerConfigAt(config, path);
      const method = methodOf(layer?.method);
      const factors = method.parametersOf && method.factorsOf?.(parameters);
      if (layer?.trainBias === true) {
        faults.push(`${path}: its bias is part of the adapter.`);
      } else if (factors === undefined) {
        faults.push(`${path}: its method ${method.name} is no product. convertToLoRA makes it LoRA.`);
      } else if (factors.a.rank !== 2 || factors.b.rank !== 2 || prefix !== '') {
        faults.push(`${path}: a ${layer?.className ?? 'layer'} is no linear module.`);
      } else {
        plain.push({path, ...factors, scaling: scalingOf(resolveStrength(layer ?? {}))});
      }
    }
    throwFaults(faults, 'ERR_UNSUPPORTED', TITLE);
    if (plain.length === 0) {
      throw new LoRAError('The adapter has no updates.');
    }
    return await Promise.all(
      plain.map(async ({path, a, b, scaling}) => {
        const [dataA, dataB] = await Promise.all([a.data<'float32'>(), b.data<'float32'>()]);
        return {
          path: path.replaceAll('/', '.'),
          a: {shape: a.shape, data: dataA},
          b: {shape: b.shape, data: dataB.map(value => value * scaling)},
        };
      }),
    );
  } finally {
    converted.dispose();
  }
}
