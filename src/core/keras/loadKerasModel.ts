import * as tf from '@tensorflow/tfjs';
import {
  asLoRAError,
  brief,
  checkOptions,
  listed,
  messageOf,
  throwFaults,
  unsupportedError,
} from '../../platform/errors';
import {type CallOptions, throwIfAborted, unlessAborted, withOwnErrors} from '../../platform/signals';
import {sizeOf} from '../../platform/formats/layout';
import {disposeModel} from '../rewire/dispose';
import {checkLimits, type LoadOptions} from '../storage/limits';
import {joinedWeights} from '../storage/weightBytes';
import {type LayerEntry} from '../../platform/tfjs/configs';
import {keepingNames} from '../../platform/tfjs/keepingNames';
import {withoutResidue} from '../../platform/tfjs/engine';
import {withWeightLimit} from '../../platform/tfjs/weightLimit';
import {camelCase, isJson, type Json, someInside} from './json';
import {callFaults, type CalledLayer} from './openCalls';
import {type KerasFile, recognize} from './recognize';
import {readTopology} from './topology';
import {fillWeights} from './weights';

/**
 * Loads a layers model that computes what Keras computes. Reads files of Keras 2 and 3 (`.h5` and `.keras`) after the
 * official converter. Passes files that tfjs wrote to `tf.loadLayersModel` unchanged.
 *
 *     const model = await loadKerasModel('https://…/base/model.json');
 *     const adapted = applyLoRA(model, {rank: 8});
 *
 * A `MultiHeadAttention` called `attention` becomes four `Dense` layers, which LoRA adapts (`attention_query`,
 * `attention_key`, `attention_value` and `attention_output`), and the `Attention` of `tfjs-lora/transformers`. Import
 * that entry point first. It is not needed for attention with a mask or with another `value_dim`.
 *
 * @param source a URL, in Node also a path, a handler of `tf.io`, or a list of files, such as that of an input:
 *     `model.json` and the files of its weights.
 * @param options `signal` ends the load; `onProgress` is called with the bytes of each fetched file; `maxBytes` limits
 *     what is fetched, by default without a limit.
 * @returns a promise of a layers model.
 * @throws LoRAError `ERR_UNSUPPORTED` if a layer or a setting would compute something else than in Keras, `ERR_MISFIT`
 *     if the weights do not fit, with a line for each fault; `ERR_IO` if it cannot be read; `ERR_ABORTED` if the signal
 *     is aborted. Nothing is left in memory then.
 */
export async function loadKerasModel(
  source: string | URL | tf.io.IOHandler | ArrayLike<File>,
  options: LoadOptions & CallOptions = {},
): Promise<tf.LayersModel> {
  checkOptions(options, {maxBytes: true, signal: true, onProgress: true});
  checkLimits(options);
  const {signal} = options;
  throwIfAborted(signal);
  // Clearing an input empties its list.
  const snapshot = typeof FileList === 'function' && source instanceof FileList ? Array.from(source) : source;
  const {handlerOf} = await import('./modelFiles');
  const artifacts = await withOwnErrors(options, watched =>
    unlessAborted(handlerOf(snapshot, watched).load(), signal).catch((error: unknown) => {
      throwIfAborted(signal);
      const isAddress = typeof source === 'string' || source instanceof URL;
      throw isAddress ? asLoRAError(error, `Cannot load "${String(source)}"`, 'ERR_IO') : error;
    }),
  );
  const file = recognize(artifacts);
  if (file !== undefined) {
    return build(file, artifacts);
  }
  refuse(endlessFaults(artifacts.modelTopology));
  const model = await tf.loadLayersModel({load: () => Promise.resolve(artifacts)});
  if (signal?.aborted === true) {
    disposeModel(model);
  }
  throwIfAborted(signal);
  return model;
}

/** Entries of a topology that would make tfjs's own loader wait forever, one line each. */
function endlessFaults(topology: unknown): string[] {
  const faults: string[] = [];
  someInside(topology, fields => {
    const {layers} = inCamelCase(fields);
    const called = (Array.isArray(layers) ? layers : []).filter(isJson).flatMap(entry => {
      const {className, name, inboundNodes} = inCamelCase(entry);
      if (!Array.isArray(inboundNodes)) {
        return [];
      }
      if (typeof name !== 'string') {
        faults.push(`A layer ${brief(className)} has no name, so the file cannot refer to it.`);
      }
      const calls: unknown[] = inboundNodes;
      const malformed = calls.filter(node => !isListOfLists(node));
      faults.push(
        ...malformed.map(node => `${label({className, name})} is called with ${brief(node)}, which is no call.`),
      );
      return [{className, name, inboundNodes: calls.filter(isListOfLists)} as CalledLayer];
    });
    faults.push(...callFaults(called, label));
    return false;
  });
  return faults;
}

function label({className, name}: Pick<Json, 'className' | 'name'>): string {
  return `"${String(name)}" (${String(className)})`;
}

function isListOfLists(value: unknown): value is CalledLayer['inboundNodes'][number] {
  return Array.isArray(value) && value.every(Array.isArray);
}

/** The fields of an object as tfjs reads them, whichever way the file spells them. */
function inCamelCase(fields: Json): Json {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [camelCase(name), value]));
}

function build({root: topology, isKeras3}: KerasFile, artifacts: tf.io.ModelArtifacts): tf.LayersModel {
  const {weightData, weightSpecs, userDefinedMetadata} = artifacts;
  const {entry, model: layers, faults, warnings} = readTopology(topology, isKeras3);
  if (weightData === undefined || weightSpecs === undefined) {
    faults.push('The weights are missing: loadKerasModel needs them in addition to the topology.');
  }
  refuse(faults);
  const numbers = (weightSpecs ?? []).reduce((sum, {shape}) => sum + sizeOf(shape) + 1, 0);
  const model = withoutResidue(() => {
    const made = makeModel(entry, numbers);
    tf.tidy(() => {
      const tensors = tf.io.decodeWeights(joinedWeights(weightData).buffer, weightSpecs ?? []);
      refuse(fillWeights(made, layers, tensors));
    });
    return made;
  });
  if (userDefinedMetadata !== undefined) {
    model.setUserDefinedMetadata(userDefinedMetadata);
  }
  if (warnings.length > 0) {
    console.warn(`In training, the model differs from the one in Keras: ${listed(warnings)}`);
  }
  return model;
}

function refuse(faults: readonly string[]): void {
  throwFaults(faults, 'ERR_UNSUPPORTED', 'The Keras model cannot be loaded:');
}

/** Builds a model with weights of zeros, with no more values than the file has. */
function makeModel({className, config}: LayerEntry, numbers: number): tf.LayersModel {
  const registered = tf.serialization.SerializationMap.getMap().classNameMap[className];
  try {
    const [modelClass, fromConfig] = registered as NonNullable<typeof registered>;
    return keepingNames(() =>
      withWeightLimit({left: numbers}, () => fromConfig(modelClass, config)),
    ) as unknown as tf.LayersModel;
  } catch (error) {
    const text = `${messageOf(error)} The file has ${numbers} numbers for all weights and their count.`;
    throw unsupportedError(`The Keras model cannot be loaded:\n  ${text}`, {cause: error});
  }
}
