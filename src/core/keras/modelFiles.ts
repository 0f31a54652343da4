import * as tf from '@tensorflow/tfjs';
import {listed, LoRAError, notFoundError} from '../../platform/errors';
import {jsonText} from '../../platform/formats/explained';
import type {CallOptions} from '../../platform/signals';
import type {LoadOptions} from '../storage/limits';
import {bytesOf} from '../storage/sources';
import {joinedWeights} from '../storage/weightBytes';

type ModelJSON = Parameters<typeof tf.io.getModelArtifactsForJSON>[0];

/**
 * The model that picked files hold: its JSON, and the files of weights that this names. `tf.io.browserFiles` reads them
 * in browsers alone.
 *
 * @throws LoRAError if there is no JSON file, or a file of weights is missing.
 */
export async function artifactsOfFiles(
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
