import * as tf from '@tensorflow/tfjs';
import {type Adapter, layerConfigAt, makeAdapter} from '../adapter/adapter';
import {checkAdapter} from '../adapter/checkAdapter';
import {checkBase, setBase} from '../adapter/base';
import {describeHead, sameHead} from '../adapter/headConfig';
import {busyError, disposedError, isPromise, kindOf, LoRAError, misfitError} from '../../platform/errors';
import type {LayerConfig} from '../layers/layerConfig';
import {adapterState, type AdapterState} from '../layers/layerMarks';
import {isLoRALayer} from '../layers/loraLayer';
import {isWrapper, type WrapperLayer} from '../layers/wrapperLayer';
import {recordOf} from '../rewire/record';
import type {Site} from '../rewire/walk';
import {isDisposed, replaceValue} from '../../platform/tfjs/weights';
import {adaptedSites, adapterConfig, adapterVariables, reportUnsaved} from './adapted';
import {checkFit} from './checkFit';
import {noteVersionsAtStart} from './fits';
import {
  type AdapterScope,
  checkInside,
  checkNotOver,
  closeScope,
  modelAndScope,
  openScope,
  overlap,
  waitWithin,
} from './scope';

/** The state of layers when a snapshot was taken: their marks, and the scope that was open on them. */
type Origin = WeakMap<tf.layers.Layer, Readonly<Pick<AdapterState, 'mark' | 'scope'>>>;

/** The state of the layers of each snapshot. */
const origins = new WeakMap<Adapter, Origin>();

/**
 * Returns the adapter of a model as a snapshot: it shares buffers with the model, and later changes of the model do not
 * affect it. It is taken immediately, during a `fit` never in the middle of a step.
 *
 * It holds everything that `applyLoRA` lets train, and the LoRA layers and `TrainedLayer`s of a model made by hand.
 * It does not hold plain layers that train besides those: a warning says so, once per model, and
 * `summarizeLoRA(model).unsaved` lists them.
 *
 * @param model an adapted model.
 * @returns the adapter, which is the caller's to dispose of.
 * @throws LoRAError `ERR_NOT_ADAPTED` if the model is not adapted, `ERR_DISPOSED` if it was disposed of.
 * @example
 *     const adapter = getAdapter(model);
 */
export function getAdapter(model: tf.LayersModel): Adapter {
  const sites = liveSites(model);
  reportUnsaved(model, sites);
  return snapshotOf(model, sites);
}

function snapshotOf(model: tf.LayersModel, sites: readonly Site[]): Adapter {
  const config = adapterConfig(model); // before there are tensors that a failure would leak
  const entries = [...adapterVariables(model)].map(([name, variable]) => [name, tf.clone(variable.read())] as const);
  const adapter = makeAdapter(config, Object.fromEntries(entries));
  const origin: Origin = new WeakMap();
  for (const {layer} of sites) {
    const {mark, scope} = adapterState(layer);
    origin.set(layer, {mark, scope});
  }
  origins.set(adapter, origin);
  setBase(adapter, sites);
  return adapter;
}

/**
 * Puts another adapter on an adapted model, in place: of any rank and strength, for all or some of the adapted layers.
 * Layers that the adapter does not name compute what their base computes; with `null` all of them do. Nothing is copied
 * or compiled: buffers are shared, and a compiled model continues training.
 *
 * A running `fit` refuses its next step with a `LoRAError`, because it would train the wrong adapter, unless the
 * adapter is a snapshot of the one that it began with.
 *
 * An optimizer with slots (momentum, Adam) keeps those of the former adapter. Call `resetOptimizer(model)` before
 * training the other one. After an adapter of another rank the next `fit` does so by itself.
 *
 * A warning says if an adapter from a file was trained on another base than the model's. On WebGPU, which reads tensors
 * only asynchronously, only `loadAdapter(source, {model})` can tell.
 *
 * tfjs fixes which variables a compiled model trains. With an adapter of another method the model can predict, but
 * refuses to train until it is compiled again.
 *
 * @param where the model; inside a `withAdapter` whose function has awaited something, the scope that the function was
 * given.
 * @param adapter what to set; `null` for the base alone.
 * @throws LoRAError `ERR_NOT_ADAPTED` if the model is not adapted, `ERR_DISPOSED` if it or the adapter was disposed of,
 *     `ERR_BUSY` if a `withAdapter` is open that this call may come from outside of, `ERR_MISFIT` if the adapter does
 *     not fit, with a line for each misfit. Then nothing is changed.
 * @example
 *     const emoji = await loadAdapter('indexeddb://emoji');
 *     setAdapter(model, emoji); // emoji.dispose() frees it when it is no longer needed
 */
export function setAdapter(where: tf.LayersModel | AdapterScope, adapter: Adapter | null): void {
  const {model, scope} = modelAndScope(where);
  const sites = liveSites(model);
  checkInside('setAdapter', sites, scope);
  if (adapter !== null) {
    checkAdapterFits(adapter, model, sites);
  }
  noteVersionsAtStart(model);
  putOn(sites, adapter);
  if (adapter !== null) {
    checkBase(adapter, sites);
  }
}

/** Sets an adapter that fits. */
function putOn(sites: readonly Site[], adapter: Adapter | null): void {
  const origin = adapter === null ? undefined : origins.get(adapter);
  const mark = {};
  for (const {path, layer} of sites) {
    if (isWrapper(layer)) {
      const tensorOf = (name: string) => adapter?.tensors[`${path}/${name}`];
      setLayer(layer, adapter === null ? undefined : layerConfigAt(adapter.config, path), tensorOf);
      const state = adapterState(layer);
      const taken = origin?.get(layer);
      // Inside a scope, a snapshot from outside is an ordinary adapter: what it trains there ends with the scope.
      state.mark = taken?.scope === state.scope ? (taken?.mark ?? mark) : mark;
    }
  }
}

/** The layers of an adapted model that has not been disposed. */
function liveSites(model: tf.LayersModel): Site[] {
  const sites = adaptedSites(model);
  if (sites.some(({layer}) => isWrapper(layer) && isEmptied(layer))) {
    throw disposedError('The model was disposed: its adapter is no longer there.');
  }
  return sites;
}

function isEmptied(layer: WrapperLayer): boolean {
  return [...layer.adapterWeights().values()].some(isDisposed);
}

/**
 * Checks that an adapter can be set on an adapted model.
 *
 * @throws LoRAError if it cannot, with a line for each misfit.
 */
export function checkAdapterFits(adapter: Adapter, model: tf.LayersModel, sites: readonly Site[]): void {
  checkAdapter(adapter);
  const {head} = recordOf(model);
  if (!sameHead(adapter.config.head, head)) {
    throw misfitError(
      `The adapter does not fit this model: it has ${describeHead(adapter.config.head)}, and the model ` +
        `${describeHead(head)}. Apply it to the plain base instead: applyLoRA(base, adapter).`,
    );
  }
  checkFit(adapter, sites);
}

/** Sets what an adapter holds for one layer; what it does not hold is as in the base. */
function setLayer(
  layer: WrapperLayer,
  config: LayerConfig | undefined,
  tensorOf: (name: string) => tf.Tensor | undefined,
): void {
  if (isLoRALayer(layer)) {
    if (config === undefined) {
      layer.clearUpdate();
    } else {
      layer.setUpdate(config, tensorOf);
    }
  }
  layer.restoreOriginal();
  layer.trainedWeights().forEach((variable, name) => {
    const value = tensorOf(name);
    if (value !== undefined) {
      replaceValue(variable, value);
    }
  });
}

/**
 * Runs `f` with another adapter on the model, or with none, and always restores the former one afterwards.
 *
 * A function that returns a value ends before anything else runs, so such calls never overlap. One that returns a
 * promise keeps the adapter on the model until the promise settles. Until then other asynchronous calls are refused,
 * unless they show that they come from inside. JavaScript in a browser cannot tell code after an `await` from any other
 * code, so `f` receives a scope to show it with:
 *
 *     await withAdapter(model, lions, async scope => {
 *       await model.fit(xs, ys);                                    // trains lions
 *       await withAdapter(scope, null, () => model.evaluateDataset(test));
 *     });
 *
 * Meanwhile everything that uses the model itself, `predict` and `getAdapter` included, sees the adapter that is on it.
 * For overlapping work, give each adapter its own model: `applyLoRA(base, adapter)` shares the frozen weights.
 *
 * A `fit` continues with the adapter that it began with. One that began outside pauses while its callback awaits
 * `withAdapter`; any other step of it during the call is refused.
 *
 * @param where the model; inside another `withAdapter` whose function has awaited something, the scope that the
 * function was given.
 * @param f may return a promise; the adapter stays until that is settled, with all calls inside that received the
 *     scope.
 * @param adapter what to set during the call; `null` for the base alone.
 * @returns what `f` returns.
 * @throws LoRAError as `setAdapter`, `ERR_NOT_ADAPTED`, `ERR_BUSY` and `ERR_MISFIT`; and whatever `f` throws.
 */
export function withAdapter<T>(
  where: tf.LayersModel | AdapterScope,
  adapter: Adapter | null,
  f: (scope: AdapterScope) => T,
): T {
  if (typeof f !== 'function') {
    throw new LoRAError(`f must be a function, such as () => model.predict(x), got ${kindOf(f)}.`);
  }
  const {model, scope: outerScope} = modelAndScope(where);
  const sites = liveSites(model);
  checkNotOver('withAdapter', outerScope);
  if (adapter !== null) {
    checkAdapterFits(adapter, model, sites);
  }
  // It is known before the call that it returns a promise.
  if (Object.prototype.toString.call(f) === '[object AsyncFunction]') {
    checkInside('withAdapter', sites, outerScope);
  }
  const former = snapshotOf(model, sites);
  const scope = openScope(model, sites, outerScope);
  const restore = () => {
    noteVersionsAtStart(model);
    putOn(
      sites.filter(({layer}) => !(isWrapper(layer) && isEmptied(layer))), // `f` may have disposed the model
      former,
    );
    former.dispose();
  };
  let result: T;
  try {
    noteVersionsAtStart(model);
    putOn(sites, adapter);
    result = f(scope);
  } catch (error) {
    void closeScope(scope, restore);
    throw error;
  }
  if (!isPromise(result)) {
    if (closeScope(scope, restore) !== undefined) {
      throw busyError(
        'A withAdapter inside this one has not ended, although the function has. Return its promise, or await it.',
      );
    }
    return result;
  }
  const promise = Promise.resolve(result);
  if (!scope.mayWait) {
    promise.catch(() => undefined); // nobody awaits it
    void closeScope(scope, restore);
    throw overlap('withAdapter');
  }
  scope.phase = 'waiting';
  const end = waitWithin(scope, async () => {
    await promise.catch(() => undefined);
    await closeScope(scope, restore);
  });
  return end.then(() => promise) as T;
}
