import * as tf from '@tensorflow/tfjs';
import {capabilities} from '../../backends/shared/capabilities';
import {isDisposed, namedWeights} from '../../platform/tfjs/weights';
import type {LayerConfig} from '../layers/layerConfig';
import {adaptationBy} from '../layers/registry';
import {baseOf} from '../layers/layerMarks';
import {isWrapper} from '../layers/wrapperLayer';
import {scalingOf} from '../methods/lora';
import {methodOf} from '../methods/registry';
import {type Adapter, layerConfigAt} from './adapter';
import type {Kernel, Kernels, NamedBase, UnpackedVariable} from './fingerprint';

// A file identifies the base of its adapter by a few values of each kernel. The code that compares them is loaded with
// the first such file. It imports nothing: what it shared with the core would be split off from the core.

interface Place {
  path: string;
  layer: tf.layers.Layer;
}

/** The base that an adapter was trained on: named by its file, or the layers that the adapter was taken from. */
const bases = new WeakMap<Adapter, NamedBase | readonly Place[]>();

/** Remembers the base of an adapter, if there is one. */
export function setBase(adapter: Adapter, base: NamedBase | readonly Place[] | undefined): Adapter {
  return base === undefined ? adapter : (bases.set(adapter, base), adapter);
}

export function shareBase(from: Adapter, to: Adapter): Adapter {
  return setBase(to, bases.get(from));
}

export function namedBase(adapter: Adapter): NamedBase | undefined {
  const base = bases.get(adapter);
  return Array.isArray(base) ? undefined : (base as NamedBase | undefined);
}

/** Loads the code. A page that is offline, or was redeployed in the meantime, saves and loads adapters without it. */
async function fingerprints(): Promise<typeof NamedBase | undefined> {
  try {
    return (await import('./fingerprint')).NamedBase;
  } catch {
    return undefined;
  }
}

/** Gives an adapter the base that its file names, if any. */
export async function withBase(adapter: Adapter, saved: unknown): Promise<Adapter> {
  return setBase(adapter, saved === undefined ? saved : (await fingerprints())?.decode(pathsOf(adapter), saved));
}

/** What the file of an adapter says about its base. */
export async function savedBase(adapter: Adapter): Promise<number[][] | undefined> {
  const base = await baseFrom(adapter);
  const saved = base?.encode(pathsOf(adapter)) ?? [];
  return saved.some(list => list.length > 0) ? saved : undefined;
}

/**
 * The base of an adapter, read from the layers that it was taken from if its file does not name it. If they cannot be
 * read, as on a graphics card that was lost, the adapter is saved without.
 */
export async function baseFrom(adapter: Adapter): Promise<NamedBase | undefined> {
  const base = bases.get(adapter);
  if (!Array.isArray(base)) {
    return namedBase(adapter);
  }
  try {
    return await (await fingerprints())?.read(kernelsOf(adapter, base as readonly Place[]));
  } catch {
    return undefined;
  }
}

export async function withCommonBase(from: readonly Adapter[], to: Adapter): Promise<Adapter> {
  const usableBases = (await Promise.all(from.map(baseFrom))).filter(base => base !== undefined);
  return setBase(to, usableBases.length > 0 ? (await fingerprints())?.shared(usableBases) : undefined);
}

/**
 * Warns, once, if an adapter from a file was trained on another base than the model, and if the model can be read
 * synchronously.
 */
export function checkBase(adapter: Adapter, layers: readonly Place[]): void {
  const base = capabilities().readsByPromise ? undefined : namedBase(adapter);
  const [first] = layers;
  if (base !== undefined && first !== undefined && !base.checked.has(first.layer)) {
    base.checked.add(first.layer);
    base.check(kernelsOf(adapter, layers));
  }
}

function pathsOf({config}: Adapter): string[] {
  return Object.keys(config.layers).sort();
}

export function kernelsOf(adapter: Adapter, layers: readonly Place[]): Kernels {
  const kernels = new Map<string, Kernel>();
  for (const {path, layer} of layers) {
    const config = layerConfigAt(adapter.config, path);
    const base = baseOf(layer);
    const adaptation = config && adaptationBy(config, layer);
    // A model that the adapter does not fit is refused elsewhere.
    const isRefused = adaptation?.refusal?.(base) !== undefined || (adaptation?.weightFaults?.(base) ?? []).length > 0;
    const [weight, ...laterWeights] = isRefused ? [] : (adaptation?.weights(base) ?? []);
    if (config !== undefined && weight !== undefined) {
      const holder = holderOf(weight.variable, layer);
      const prefix = laterWeights.length === 0 ? '' : `${weight.name}/`;
      if (!isDisposed(holder)) {
        const {shape, packed}: UnpackedVariable = weight.variable;
        const update = updateIn(adapter, `${path}/${prefix}`, config);
        kernels.set(path, {held: holder.read(), packed, size: tf.util.sizeFromShape(shape as number[]), update});
      }
    }
  }
  return kernels;
}

/** The variable that holds the values of a kernel as they were before it trained. */
function holderOf(variable: UnpackedVariable, layer: tf.layers.Layer): tf.LayerVariable {
  const [name = ''] = [...namedWeights(baseOf(layer))].find(([, weight]) => weight === variable) ?? [];
  return variable.packed?.holder ?? (isWrapper(layer) ? layer.originalWeights().get(name) : undefined) ?? variable;
}

/** The update of a kernel whose parameters have this prefix. */
function updateIn({tensors}: Adapter, prefix: string, config: LayerConfig): Kernel['update'] {
  const method = methodOf(config.method);
  const parameters = Object.fromEntries(method.parameterNames.map(name => [name, tensors[prefix + name] as tf.Tensor]));
  return method.product && (() => ({...method.product?.(parameters), scaling: scalingOf(config)}));
}
