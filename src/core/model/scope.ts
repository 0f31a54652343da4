import type * as tf from '@tensorflow/tfjs';
import {busyError, disposedError, LoRAError} from '../../platform/errors';
import {adapterState} from '../layers/layerMarks';
import {isWrapper} from '../layers/wrapperLayer';
import type {Site} from '../rewire/walk';

const SCOPE = Symbol.for('tfjs-lora.scope');

/**
 * The argument of the function of `withAdapter`: code inside the function changes the adapter with it. Pass it to
 * `withAdapter` and `setAdapter` in place of the model once the function has awaited something.
 */
export interface AdapterScope {
  /** The model that the adapter is on. */
  readonly model: tf.LayersModel;
  /** Tells a scope from a model. @internal */
  readonly [SCOPE]: true;
}

/** An open `withAdapter`. */
interface OpenScope extends AdapterScope {
  /** `running` while its function is on the stack, `waiting` for the function's promise, then `over`. */
  phase: 'running' | 'waiting' | 'over';
  /** Whether its function may return a promise. It may not while a scope around it waits. */
  readonly mayWait: boolean;
  /** The ends of the scopes inside it that wait. */
  readonly inside: Set<Promise<void>>;
  readonly around: ReadonlyMap<tf.layers.Layer, OpenScope | undefined>;
}

/** The model, and the scope passed in its place, if any. */
export function modelAndScope(where: tf.LayersModel | AdapterScope): {model: tf.LayersModel; scope?: OpenScope} {
  return isScope(where) ? {model: where.model, scope: where as OpenScope} : {model: where};
}

function isScope(where: tf.LayersModel | AdapterScope): where is AdapterScope {
  return typeof where === 'object' && (where as unknown) !== null && SCOPE in where;
}

/**
 * Refuses a lasting change of a model's adapter that may come from outside an open scope.
 *
 * While the function of a scope is on the stack, everything that runs is part of it. Once it waits for a promise,
 * JavaScript in a browser cannot tell its code from any other: only the scope itself, passed in, shows where a call
 * comes from.
 *
 * @throws LoRAError if it may, or the scope that was passed is over.
 */
export function checkInside(what: string, sites: readonly Site[], scope: OpenScope | undefined): void {
  checkNotOver(what, scope);
  if (!isInside(sites, scope)) {
    throw overlap(what);
  }
}

/** @throws LoRAError if the scope that was passed is over. */
export function checkNotOver(what: string, scope: OpenScope | undefined): void {
  if (scope?.phase === 'over') {
    throw disposedError(
      `${what} got the scope of a withAdapter that has ended: its promise has settled. Await what its function ` +
        'does with the scope.',
    );
  }
}

export function openScope(model: tf.LayersModel, sites: readonly Site[], outer: OpenScope | undefined): OpenScope {
  const layers = layersOf(sites);
  const around = new Map(layers.map(layer => [layer, scopeOn(layer)]));
  const below = [...around.values()];
  const scope: OpenScope = {
    model,
    [SCOPE]: true,
    phase: 'running',
    mayWait: isInside(sites, outer) && below.every(other => other === undefined || other.mayWait),
    inside: new Set(),
    around,
  };
  layers.forEach(layer => (adapterState(layer).scope = scope));
  return scope;
}

/**
 * Closes a scope: at once if no scope inside it is open, otherwise after those.
 *
 * @param restore restores the former adapter.
 * @returns a promise if it has to wait.
 */
export function closeScope(scope: OpenScope, restore: () => void): Promise<void> | undefined {
  scope.phase = 'over';
  const close = () => {
    scope.around.forEach((outer, layer) => (adapterState(layer).scope = outer));
    restore();
  };
  if (scope.inside.size === 0) {
    close();
    return undefined;
  }
  return waitWithin(scope, async () => {
    while (scope.inside.size > 0) {
      await Promise.all(scope.inside);
    }
    close();
  });
}

/** Makes a scope wait for `f`, and the scopes around it too if they would end before. */
export function waitWithin(scope: OpenScope, f: () => Promise<void>): Promise<void> {
  const outer = new Set([...scope.around.values()].filter(other => other !== undefined));
  const end: Promise<void> = f().finally(() => outer.forEach(({inside}) => inside.delete(end)));
  outer.forEach(({inside}) => inside.add(end));
  return end;
}

export function overlap(what: string): LoRAError {
  return busyError(
    `A withAdapter on this model is open until the promise of its function settles, and this ${what} may come ` +
      'from outside. Inside the function, pass its scope instead of the model: withAdapter(model, adapter, ' +
      `async scope => { … ${what}(scope, …) }). Outside, await that withAdapter first, or use a separate model, ` +
      'which shares the frozen weights: applyLoRA(base, adapter).',
  );
}

/** Whether a call certainly comes from inside all scopes that are open on the layers. */
function isInside(sites: readonly Site[], outerScope: OpenScope | undefined): boolean {
  return layersOf(sites).every(layer => {
    const scope = scopeOn(layer);
    return scope === undefined || scope.phase === 'running' || (scope === outerScope && scope.phase === 'waiting');
  });
}

function scopeOn(layer: tf.layers.Layer): OpenScope | undefined {
  return adapterState(layer).scope as OpenScope | undefined;
}

function layersOf(sites: readonly Site[]): tf.layers.Layer[] {
  return sites.map(({layer}) => layer).filter(isWrapper);
}
