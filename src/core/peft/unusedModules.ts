import type * as tf from '@tensorflow/tfjs';
import {listed, misfitError} from '../../platform/errors';
import type {Site} from '../rewire/walk';

/** The modules of the PyTorch class of a model that the model does not compute with. */
type UnusedModules = (model: tf.LayersModel) => readonly string[];

const registered = new Set<UnusedModules>();

/** Registers how an extension knows the unused modules of its models. */
export function registerUnusedModules(modulesOf: UnusedModules): void {
  registered.add(modulesOf);
}

/**
 * The modules of an adapter without those that the model does not compute with, which a warning names.
 *
 * @throws LoRAError `ERR_MISFIT` if no module remains.
 */
export function usedModules(modules: readonly string[], model: tf.LayersModel, sites: readonly Site[]): string[] {
  const layers = new Set(sites.map(({path}) => path.replaceAll('/', '.')));
  const unused = new Set([...registered].flatMap(modulesOf => modulesOf(model)).filter(module => !layers.has(module)));
  const ignored = modules.filter(module => unused.has(module));
  if (ignored.length > 0 && ignored.length === modules.length) {
    throw misfitError(
      `The adapter changes only modules that the model does not compute with: ${listed(ignored)}. Load the model ` +
        'with the class that uses them.',
    );
  }
  if (ignored.length > 0) {
    console.warn(
      `The adapter changes modules that the model does not compute with. They are left out: ${listed(ignored)}.`,
    );
  }
  return modules.filter(module => !unused.has(module));
}
