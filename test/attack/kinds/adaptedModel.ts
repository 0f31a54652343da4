import {join} from 'node:path';
import process from 'node:process';
import * as tf from '@tensorflow/tfjs';
import {disposeModel, getAdapter, LoRAError, mergeLoRA, removeLoRA, summarizeLoRA} from 'tfjs-lora';
import {type AttackKind, type Json, mustHold, type Parts} from '../kind';
import {adaptedModels, baseInputs, baseModel, savedParts} from './models';

/** What this library writes into the configs of its layers. All else is tfjs's to read. */
const OWN = [
  ...['rank', 'alpha', 'rank_stabilized', 'freeze_base_layer', 'train_bias', 'initializer', 'seed', 'keep_original'],
  ...['base_trainable', 'weights', 'record'],
];

interface Topology {
  config: {layers: {config: {[key: string]: Json}}[]};
}

/** The configs of the layers of this library. */
function wrappersOf(topology: Topology) {
  return topology.config.layers.map(({config}) => config).filter(config => config.layer !== undefined);
}

/** `model.json` of an adapted model: what this library adds to it. */
export const adaptedModel: AttackKind = {
  name: 'model.json of an adapted model',
  async prepare() {
    const base = baseModel();
    const inputs = baseInputs();
    const whole: Parts[] = [];
    const files: {json: tf.io.ModelArtifacts; weights: Uint8Array}[] = [];
    for (const model of adaptedModels(base)) {
      const {json, weights} = await savedParts(handler => model.save(handler));
      const wrappers = wrappersOf(json.modelTopology as unknown as Topology);
      const own = wrappers.map(config =>
        Object.fromEntries(Object.entries(config).filter(([key]) => OWN.includes(key))),
      );
      const texts = wrappers.map(({record}) => (record as {name: string} | undefined)?.name).filter(Boolean);
      whole.push({own, record: JSON.parse(texts[0]!) as Json, file: files.length});
      files.push({json, weights});
      disposeModel(model);
    }
    return {
      whole,
      models: [base],
      async use({own, record, file}) {
        const {json, weights} = files[Number(file) % files.length] ?? files[0]!;
        const topology = structuredClone(json.modelTopology) as unknown as Topology;
        wrappersOf(topology).forEach((config, i) => {
          const mine = (Array.isArray(own) ? own[i] : {}) as {[key: string]: Json} | null | undefined;
          const former = config.record;
          OWN.forEach(key => Reflect.deleteProperty(config, key));
          Object.assign(config, mine);
          if (former !== undefined && typeof mine?.record === 'object' && mine.record !== null) {
            config.record = {
              ...(mine.record as object),
              name: typeof record === 'string' ? record : JSON.stringify(record),
            };
          }
        });
        const weightData = weights.slice().buffer;
        const model = await loaded({...json, modelTopology: topology, weightData});
        try {
          const steps = [
            () => tf.tidy(() => mustHold([model.predict(inputs)].flat()[0]!.shape[0] === 2, 'It predicts no rows.')),
            () => getAdapter(model).dispose(),
            () => String(summarizeLoRA(model)),
            () => disposeModel(removeLoRA(model)),
            () => disposeModel(mergeLoRA(model)),
          ];
          const refusals = steps.map(refusalOf).filter(refusal => refusal !== undefined);
          if (refusals[0] !== undefined) {
            throw refusals[0];
          }
        } finally {
          disposeModel(model);
        }
      },
    };
  },
};

/** What a step is refused with. */
function refusalOf(step: () => void): LoRAError | undefined {
  try {
    step();
    return undefined;
  } catch (error) {
    if (error instanceof LoRAError) {
      return error;
    }
    throw error;
  }
}

/**
 * The model. What this library writes changes how many weights a layer has, and tfjs refuses the file by errors of its
 * own; and when tfjs fails in the middle, it leaves what it has made until then.
 */
async function loaded(artifacts: tf.io.ModelArtifacts): Promise<tf.LayersModel> {
  const before = new Set(Object.keys(tf.engine().registeredVariables));
  tf.engine().startScope();
  try {
    return await tf.loadLayersModel(tf.io.fromMemory(artifacts));
  } catch (error) {
    for (const [name, variable] of Object.entries(tf.engine().registeredVariables)) {
      if (!before.has(name)) {
        variable.dispose();
      }
    }
    throw isOfTfjs(error) ? new LoRAError('tfjs refuses the file.', {cause: error}) : error;
  } finally {
    tf.engine().endScope(); // frees the weights that were read
  }
}

/** Whether an error comes from tfjs's own code: from what is called there first. */
function isOfTfjs(error: unknown): boolean {
  const [place] = /^ +at .*\/.*$/m.exec((error as Error).stack ?? '') ?? [''];
  return !place.includes(join(process.cwd(), 'src'));
}
