import {performance} from 'node:perf_hooks';
import * as tf from '@tensorflow/tfjs';
import * as library from 'tfjs-lora';
import {type Adapter, applyLoRA, disposeModel, saveAdapter} from 'tfjs-lora';
import type {Targets} from './cases/case';
import {summarize, type Summary} from './measure';

/** What `applyLoRA` takes. */
export interface Applying {
  ms: Summary;
  /** Data buffers that are there afterwards and were not before. */
  newBuffers: number;
  /** What these hold. */
  newBytes: number;
  /** Factors of the adapted layers, and what they hold: what has to be there. */
  factors: number;
  factorBytes: number;
}

/** How another adapter gets into a model. */
export interface Switching {
  how: 'setAdapter' | 'applyLoRA(base, adapter)';
  ms: Summary;
}

/** Bytes on disk. */
export interface FileSizes {
  adapter: number;
  model: number;
}

const REPEATS = 9;

export function measureApplying(base: tf.LayersModel, targets: Targets): Applying {
  const times = Array.from({length: REPEATS}, () => {
    const start = performance.now();
    const adapted = applyLoRA(base, targets);
    const ms = performance.now() - start;
    disposeModel(adapted);
    return ms;
  });
  const before = tf.memory().numDataBuffers;
  const adapted = applyLoRA(base, targets);
  const newBuffers = tf.memory().numDataBuffers - before;
  const shared = new Set(buffersOf(base).keys());
  const added = [...buffersOf(adapted)].filter(([id]) => !shared.has(id));
  const factors = adapted.weights.filter(({originalName}) => /\/lora_[AB]$/.test(originalName));
  const result = {
    ms: summarize(times)!,
    newBuffers,
    newBytes: added.reduce((sum, [, bytes]) => sum + bytes, 0),
    factors: factors.length,
    factorBytes: factors.reduce((sum, weight) => sum + bytesOf(weight.read()), 0),
  };
  disposeModel(adapted);
  return result;
}

/** The data buffers of a model's weights, each once, and their bytes. */
function buffersOf(model: tf.LayersModel): Map<object, number> {
  return new Map(model.weights.map(weight => weight.read()).map(value => [value.dataId, bytesOf(value)]));
}

function bytesOf(value: tf.Tensor): number {
  return value.size * tf.util.bytesPerElement(value.dtype);
}

/** Puts an adapter into a model, in place where the library can do so. */
export function measureSwitching(base: tf.LayersModel, adapted: tf.LayersModel, adapter: Adapter): Switching {
  // Present once adapters can be switched in place; until then a switch is a new model on the same base.
  const {setAdapter} = library as {setAdapter?: (model: tf.LayersModel, adapter: Adapter) => void};
  const times = Array.from({length: REPEATS}, () => {
    const start = performance.now();
    const made = setAdapter === undefined ? applyLoRA(base, adapter) : undefined;
    setAdapter?.(adapted, adapter);
    const ms = performance.now() - start;
    if (made !== undefined) {
      disposeModel(made);
    }
    return ms;
  });
  const how = setAdapter === undefined ? 'applyLoRA(base, adapter)' : 'setAdapter';
  return {how, ms: summarize(times)!};
}

export async function measureFiles(base: tf.LayersModel, adapter: Adapter): Promise<FileSizes> {
  const sizeOf = async (save: (handler: tf.io.IOHandler) => Promise<unknown>) => {
    let bytes = 0;
    await save(
      tf.io.withSaveHandler(artifacts => {
        const {weightData = [], ...json} = artifacts;
        bytes = JSON.stringify(json).length;
        bytes += [weightData].flat().reduce((sum, {byteLength}) => sum + byteLength, 0);
        return Promise.resolve({
          modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON'},
        });
      }),
    );
    return bytes;
  };
  return {
    adapter: await sizeOf(handler => saveAdapter(adapter, handler)),
    model: await sizeOf(handler => base.save(handler)),
  };
}
