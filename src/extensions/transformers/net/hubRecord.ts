import type * as tf from '@tensorflow/tfjs';
import {registerUnusedModules} from '../../../core/peft/unusedModules';
import type {Values} from '../../../platform/formats/layout';
import type {Architecture, Head, Pooling, Purpose} from './architecture';
import type {HubConfig} from './hubConfig';
import type {SentenceModules} from './sentenceModules';

/** The key in a model's metadata for its record of the hub. */
export const HUB = 'hub';

export interface HubRecord {
  /** The `config.json` of the model as it is now: with its class and number of labels. */
  config: Record<string, unknown>;
  pooling: Pooling;
  tokenTypes: boolean;
  /** The stages whose features are the outputs, if some were chosen. */
  outputs?: readonly string[] | undefined;
  /** Tensors of the files that PyTorch's class has, but the model does not use. */
  uncomputed: readonly string[];
  /** What the only output is, and the layer that gives it. Missing in models that earlier versions saved. */
  end?: HubEnd;
  /** What a sentence-transformer makes of the states, as its folder says, or why that is not supported. */
  sentence?: SentenceModules | {fault: string};
}

registerUnusedModules(model => {
  const tensors = hubRecordOf(model)?.uncomputed;
  const names = Array.isArray(tensors) ? (tensors as unknown[]) : [];
  return names.map(name => String(name).replace(/\.(?:weight|bias)$/, ''));
});

/** What the output of a model is, and the layer that gives it. */
interface HubEnd {
  head: Head;
  layer: string;
}

/** Those tensors by record. Models derived from a model share its record until they are saved. */
export const UNCOMPUTED = new WeakMap<object, Map<string, Values>>();

/** The tensors of the modules of sentence-transformers, by record. */
export const SENTENCE_WEIGHTS = new WeakMap<object, ReadonlyMap<string, Values>>();

/** Gives a record the tensors of the record that it was made from. */
export function keepTensors(from: object, to: object): void {
  for (const tensors of [UNCOMPUTED, SENTENCE_WEIGHTS] as WeakMap<object, ReadonlyMap<string, Values>>[]) {
    const values = tensors.get(from);
    if (values !== undefined) {
      tensors.set(to, values);
    }
  }
}

export function hubRecord(
  architecture: Architecture,
  fileConfig: HubConfig,
  {head, pooling, labels, labelNames, isNew, tokenTypes, outputs}: Purpose,
  uncomputed: Iterable<string>,
  asked?: string,
): HubRecord {
  // As JSON, because tfjs saves nothing else: an object in memory may have undefined entries.
  const asJSON = JSON.parse(JSON.stringify(fileConfig.asObject())) as Record<string, unknown>;
  const {architectures, num_labels: _, ...config} = asJSON;
  const ofHead = Object.keys(architecture.classes).filter(name => architecture.classes[name] === head);
  const [named] = [architectures].flat();
  const className = [asked, named].find(name => ofHead.includes(name as string)) ?? ofHead[0];
  const count = fileConfig.get('num_labels');
  const names =
    labelNames ?? Array.from({length: isNew && head !== 'ctc' ? labels : Number(count ?? 0)}, (_, i) => `LABEL_${i}`);
  const namesDiffer =
    labelNames !== undefined || (names.length > 0 && names.length !== Object.keys(config.id2label ?? {}).length);
  return {
    config: {
      ...config,
      architectures: [className],
      ...(namesDiffer && {
        id2label: Object.fromEntries(names.map((name, i) => [i, name])),
        label2id: Object.fromEntries(names.map((name, i) => [name, i])),
      }),
    },
    pooling,
    tokenTypes,
    ...(outputs && {outputs: [...outputs]}),
    uncomputed: [...uncomputed],
  };
}

/** The record in a model's metadata, which is untrusted. */
export function hubRecordOf(model: tf.LayersModel): Partial<Record<keyof HubRecord, unknown>> | undefined {
  const metadata = model.getUserDefinedMetadata() as Record<string, unknown> | undefined;
  const record = metadata?.[HUB];
  return typeof record === 'object' && record !== null ? record : undefined;
}

/** The entry of a record for the output of a model that has just been built. */
export function endOf(model: tf.LayersModel, head: Head): {end?: HubEnd} {
  const [output, ...furtherOutputs] = model.outputs;
  return output === undefined || furtherOutputs.length > 0 ? {} : {end: {head, layer: output.sourceLayer.name}};
}

/** What the output of a model of the hub is; `undefined` for other models, and if its head has been replaced. */
export function hubHeadOf(model: tf.LayersModel): Head | undefined {
  const {head, layer} = (hubRecordOf(model)?.end ?? {}) as Partial<HubEnd>;
  return layer !== undefined && layer === model.outputs[0]?.sourceLayer.name ? head : undefined;
}

export function hubClassOf(model: tf.LayersModel): string {
  const {architectures} = (hubRecordOf(model)?.config ?? {}) as {architectures?: unknown};
  return String([architectures].flat()[0]);
}
