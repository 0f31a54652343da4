import {LoRAError, showShape} from '../../platform/errors';
import type {Values} from '../../platform/formats/layout';
import {namedWeights} from '../../platform/tfjs/weights';
import {classInAdapters} from '../layers/adaptation';
import type {LayerConfig} from '../layers/layerConfig';
import {baseOf} from '../layers/layerMarks';
import {scalingOf} from '../methods/lora';
import {methodOf, namedIn} from '../methods/registry';
import type {Site} from '../rewire/walk';
import type {TorchModule} from './parsePeft';
import {kernelModules} from './kernelModules';
import {fromTorchUpdate, withinRankLimit} from './methods/update';

// Layers whose kernels are modules in PyTorch each.

interface Kernel {
  site: Site;
  weight: string;
}

/** The sites of a model, with one more for each kernel that is a module in PyTorch, and which kernels these are. */
export function sitesOfModules(sites: readonly Site[]): {all: Site[]; kernels: ReadonlyMap<Site, Kernel>} {
  const kernels = new Map<Site, Kernel>();
  const all = sites.flatMap(site => {
    const modules = Object.entries(kernelModules(baseOf(site.layer)) ?? {}).map(([weight, end]) => {
      const ofKernel = {...site, path: `${site.path}/${end}`};
      kernels.set(ofKernel, {site, weight});
      return ofKernel;
    });
    return [site, ...modules];
  });
  return {all, kernels};
}

/** How far apart equal strengths may be, relatively: a rank that is reduced has another `alpha`. */
const ROUNDING = 1e-6;

/**
 * The updates of kernels of a layer, by the names of the kernels, as one update of the layer.
 *
 * @throws LoRAError if a layer cannot have them.
 */
export function updateOfKernels(
  {layer, path}: Site,
  modules: ReadonlyMap<string, TorchModule>,
  hasStart: boolean,
): {config: LayerConfig; values: Record<string, Values>} {
  const base = baseOf(layer);
  const updates = [...namedWeights(base)].flatMap(([name, {shape}]) => {
    const module = modules.get(name);
    return module === undefined ? [] : [{name, ...updateOfKernel(module, shape as number[], hasStart)}];
  });
  const rank = Math.max(...updates.map(({strength}) => strength.rank));
  const first = updates.find(({strength}) => strength.rank === rank) as (typeof updates)[number];
  const scaling = scalingOf(first.strength);
  const isOne = updates.every(
    ({strength, limit}) =>
      strength.rank === Math.min(rank, limit) &&
      Math.abs(scalingOf(strength) - scaling) <= ROUNDING * Math.abs(scaling),
  );
  if (!isOne) {
    throw new LoRAError(
      `The modules ${[...Object.values(kernelModules(base) ?? {})].join(' and ')} have different ranks or strengths, ` +
        'but are one layer here. Leave one of them out with keyMap.',
    );
  }
  const values = updates.flatMap(({name, a, b, magnitude}) => {
    const start = updates.length === 1 ? path : `${path}/${name}`;
    const data = magnitude && {shape: [magnitude.data.length], data: magnitude.data};
    return [
      [`${start}/lora_A`, a],
      [`${start}/lora_B`, b],
      ...(data ? [[`${start}/lora_magnitude_vector`, data] as const] : []),
    ] as const;
  });
  return {
    config: {
      className: classInAdapters(base.getClassName()),
      weights: updates.map(({name}) => ({name, outAxes: 1})),
      ...namedIn(methodOf(first.magnitude && 'dora')),
      ...first.strength,
      freezeBaseLayer: true,
    },
    values: Object.fromEntries(values) as Record<string, Values>,
  };
}

/** The update of a kernel `[in, out]`. */
function updateOfKernel(
  {update, stored, base, bias, tokens, saved}: TorchModule,
  shape: readonly number[],
  hasStart: boolean,
) {
  const sideTensors = [stored, base, bias, tokens, update?.bias].filter(other => other !== undefined);
  if (update === undefined || update.embedding || sideTensors.length + saved.size > 0 || hasStart) {
    throw new LoRAError(
      'Only LoRA and DoRA of the weight alone are supported for a kernel of a layer with several. Leave the module ' +
        'out with keyMap.',
    );
  }
  const {a, b, strength} = fromTorchUpdate(update);
  const ofUpdate = [...a.shape.slice(0, -1), ...b.shape.slice(1)];
  if (showShape(ofUpdate) !== showShape([...shape])) {
    throw new LoRAError(
      `The update is of a weight of shape ${showShape(ofUpdate)}, but the layer's is ${showShape([...shape])}.`,
    );
  }
  return {...withinRankLimit({a, b, strength}), limit: Math.min(...shape), magnitude: update.magnitude};
}
