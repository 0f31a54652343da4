import * as tf from '@tensorflow/tfjs';
import {kindOf, listed, LoRAError, notFoundError} from '../../platform/errors';
import {jsonText} from '../../platform/formats/explained';
import type {CallOptions} from '../../platform/signals';
import type {LoadOptions} from '../storage/limits';
import {withHubName} from '../storage/hubName';
import {loaderOf, placeOf} from '../storage/places';
import {bytesOf, isListOfFiles, limitedFetch} from '../storage/sources';
import {joinedWeights} from '../storage/weightBytes';

/** Where a model may be: a URL or path, a handler, or its files. */
export type ModelSource = string | URL | tf.io.IOHandler | ArrayLike<File>;

type ModelJSON = Parameters<typeof tf.io.getModelArtifactsForJSON>[0];

/** The handler that loads a model from a source of `loadKerasModel`. */
export function handlerOf(
  source: ModelSource,
  options: LoadOptions & CallOptions,
): {load: () => Promise<tf.io.ModelArtifacts>} {
  if (isListOfFiles(source)) {
    return {load: () => artifactsOfFiles(source, options)};
  }
  const place = placeOf(source);
  if (typeof place !== 'string' && typeof (place as Partial<tf.io.IOHandler> | null | undefined)?.load !== 'function') {
    throw new LoRAError(
      'The source must be a URL, in Node a path, a handler of tf.io that can load, or the list of the files: ' +
        `model.json and those of its weights; got ${kindOf(source)}.`,
    );
  }
  const handler = loaderOf(place, {fetchFunc: limitedFetch({maxBytes: Infinity, ...options})});
  return {
    load: () =>
      handler.load().catch((error: unknown) => {
        throw withHubName(error, source);
      }),
  };
}

/**
 * The model that picked files hold: its JSON, and the files of weights that this names. `tf.io.browserFiles` reads them
 * in browsers alone.
 *
 * @throws LoRAError if there is no JSON file, or a file of weights is missing.
 */
async function artifactsOfFiles(
  files: ArrayLike<File>,
  options: LoadOptions & CallOptions,
): Promise<tf.io.ModelArtifacts> {
  const list = Array.from(files);
  const topology = list.find(({name}) => /\.json$/i.test(name));
  if (topology === undefined) {
    const names = list.map(({name}) => name);
    throw new LoRAError(
      `The files must be model.json and those of its weights, got ${names.length === 0 ? 'none' : listed(names)}.`,
    );
  }
  const json = JSON.parse(await jsonText(await bytesOf(topology, options), topology.name)) as ModelJSON;
  return tf.io.getModelArtifactsForJSON(json, async groups => {
    const shards: Uint8Array[] = [];
    for (const path of groups.flatMap(({paths}) => paths)) {
      const name = path.replace(/^.*\//s, '');
      const file = list.find(candidate => candidate.name === name);
      if (file === undefined) {
        throw notFoundError(`The weights in "${name}" are missing. Pick it together with ${topology.name}.`);
      }
      shards.push(await bytesOf(file, options));
    }
    const weights = joinedWeights(shards.map(shard => new Uint8Array(shard).buffer));
    return [groups.flatMap(group => group.weights), weights.buffer];
  });
}
