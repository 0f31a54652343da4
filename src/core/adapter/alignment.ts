import type * as tf from '@tensorflow/tfjs';
import {faultsOf, LoRAError, misfitError, showShape, throwFaults} from '../../platform/errors';
import type {LayerConfig} from '../layers/layerConfig';
import {describeWeights} from '../layers/weightTargets';
import {isFloat32, shown} from '../methods/lora';
import {methodOf} from '../methods/registry';
import {type Adapter, type HeadConfig, isAdapter, layerConfigAt} from './adapter';
import {asLoRA} from './asLoRA';
import {checkAdapter} from './checkAdapter';
import {describeHead, sameHead} from './headConfig';
import {type LayerTensors, rankLimitOf, tensorsByLayer, type WeightFactors} from './layerTensors';

/** An adapter and its weight in a combination. */
export interface WeightedAdapter {
  /** The adapter that is mixed in. It stays the caller's. */
  adapter: Adapter;
  /** Any finite number; a negative one takes the adapter's updates away. */
  weight: number;
}

/** What one adapter contributes to a layer. */
export interface Member {
  config: LayerConfig;
  weight: number;
  factors: WeightFactors[];
}

export interface AlignedLayer {
  path: string;
  members: Member[];
  /** Whether an adapter holds the layer's bias. */
  trainBias: boolean;
}

/** Several adapters, layer by layer, after checking that they go together. */
export interface AlignedAdapters {
  layers: AlignedLayer[];
  /** Paths of the layers that some adapter holds whole. */
  trainable: string[];
  /** Paths of the other layers of which some adapter holds only the bias. */
  biases: string[];
  /** The weights that are held in full, by name. */
  full: Record<string, tf.Tensor>;
  head: HeadConfig | undefined;
  /** Frees the tensors. */
  dispose(): void;
}

/**
 * Aligns adapters by their layers.
 *
 * @throws LoRAError with a line for each reason why they do not go together.
 */
export function alignAdapters(parts: readonly WeightedAdapter[]): AlignedAdapters {
  checkParts(parts);
  const faults: string[] = [];
  const layers = new Map<string, Member[]>();
  const trainable = new Set<string>();
  const biases = new Set<string>();
  const full: Record<string, tf.Tensor> = {};
  let [clash, hasUnconvertible] = [false, false];
  const plain = parts.map(({adapter, weight}) => ({adapter: asLoRA(adapter), weight}));
  const dispose = () => plain.forEach(({adapter}) => adapter.dispose());
  for (const [i, {adapter, weight}] of plain.entries()) {
    adapter.config.trainable.forEach(path => trainable.add(path));
    adapter.config.biases?.forEach(path => biases.add(path));
    const tensorsOf = tensorsByLayer(adapter);
    faults.push(...tensorsOf.faults.map(fault => `adapter ${i}: ${fault}`));
    for (const [path, tensors] of tensorsOf.layers) {
      const config = layerConfigAt(adapter.config, path);
      faults.push(...rankFaults(path, config, tensors).map(fault => `adapter ${i}: ${fault}`));
      hasUnconvertible ||= config !== undefined && methodOf(config.method).parametersOf === undefined;
      if (config !== undefined) {
        layers.set(path, [...(layers.get(path) ?? []), {config, weight, factors: tensors.factors}]);
      }
      for (const [local, tensor] of Object.entries(tensors.full)) {
        const name = `${path}/${local}`;
        if (full[name] !== undefined && full[name].dataId !== tensor.dataId) {
          faults.push(`${name}: trained in full in more than one adapter`);
          clash = true;
        }
        full[name] = tensor;
      }
    }
  }
  for (const [path, members] of layers) {
    faults.push(...(trainable.has(path) ? [`${path}: adapted in one adapter, trained in full in another`] : []));
    faults.push(...members.slice(1).flatMap(member => differences(path, members[0] as Member, member)));
  }
  const heads = parts.map(({adapter}) => adapter.config.head).filter(head => head !== undefined);
  const other = heads.find(head => !sameHead(head, heads[0]));
  if (other !== undefined) {
    faults.push(`one adapter has ${describeHead(heads[0])}, another ${describeHead(other)}`);
  }
  if (faults.length > 0) {
    dispose();
    const advice = [
      ...(clash ? ['Fully trained weights cannot be added. Only one of the adapters may have any.'] : []),
      ...(hasUnconvertible
        ? ['convertToLoRA(model, {adapter}) converts adapters of other methods to plain LoRA.']
        : []),
    ];
    throw misfitError(
      ['The adapters cannot be combined:', ...new Set(faults.map(fault => `  ${fault}`)), ...advice].join('\n'),
      {faults},
    );
  }
  const aligned = [...layers].map(([path, members]) => {
    const trainBias = biases.has(path) || members.some(({config}) => config.trainBias);
    return {path, members, trainBias};
  });
  const biasAlone = [...biases].filter(path => !layers.has(path) && !trainable.has(path));
  return {layers: aligned, trainable: [...trainable], biases: biasAlone, full, head: heads[0], dispose};
}

function checkParts(parts: readonly WeightedAdapter[]): void {
  const adapters: readonly unknown[] = Array.isArray(parts) ? parts : [];
  if (adapters.length === 0) {
    throw new LoRAError('Pass a list of adapters with weights, [{adapter, weight: 0.5}, …], which is not empty.');
  }
  const faults = adapters.flatMap((entry, i) => {
    const {adapter, weight} = (entry ?? {}) as Partial<WeightedAdapter>;
    if (isAdapter(entry)) {
      return [`Entry ${i} is an adapter without a weight. Pass {adapter, weight: 1}.`];
    }
    return [
      ...faultsOf(() => checkAdapter(adapter)).map(fault => `Entry ${i}: ${fault}`),
      ...(isFloat32(weight) ? [] : [`Entry ${i}: weight must be a finite number, got ${shown(weight)}.`]),
    ];
  });
  throwFaults(faults);
}

function rankFaults(path: string, config: LayerConfig | undefined, {factors}: LayerTensors): string[] {
  if (config === undefined) {
    return [];
  }
  const misfits = factors.filter(factor => factor.b.shape[0] !== Math.min(config.rank, rankLimitOf(factor)));
  return misfits.map(({prefix, b}) => {
    const weight = prefix === '' ? path : `${path}/${prefix.slice(0, -1)}`;
    return `${weight}: factors of rank ${b.shape[0]}, and ${config.rank} in the config`;
  });
}

/** How two adapters differ in a layer. */
function differences(path: string, one: Member, other: Member): string[] {
  const pair = [one, other];
  const [classes, shapes] = [pair.map(({config}) => config.className), pair.map(kernelShapes)];
  const methods = pair.map(({config}) => methodOf(config.method).name);
  const weights = pair.map(({config}) => (config.weights ? describeWeights(config.weights) : 'all its kernels'));
  return [
    ...(classes[0] === classes[1] ? [] : [`${path}: ${classes.join(' in one adapter, ')} in another`]),
    ...(methods[0] === methods[1] ? [] : [`${path}: method ${methods.join(' in one adapter, ')} in another`]),
    ...(weights[0] === weights[1] ? [] : [`${path}: updates ${weights.join(' in one adapter, ')} in another`]),
    ...(shapes[0] === shapes[1] ? [] : [`${path}: kernels of shape ${shapes.join(' in one adapter, ')} in another`]),
  ];
}

function kernelShapes({factors}: Member): string {
  return factors.map(({prefix, a, b}) => prefix + showShape([...a.shape.slice(0, -1), ...b.shape.slice(1)])).join(', ');
}
