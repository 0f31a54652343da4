import type * as tf from '@tensorflow/tfjs';
import type {Values} from '../../../platform/formats/layout';
import {type Architecture, type Pooling, type Purpose} from './architecture';
import type {HubConfig} from './hubConfig';

/** Under which a model keeps what the hub would say of it, adapted and saved too. */
export const HUB = 'hub';

/** What a model was made by. */
export interface HubRecord {
  /** `config.json` of the model as it is: of its class, and with as many labels as it has. */
  config: Record<string, unknown>;
  pooling: Pooling;
  tokenTypes: boolean;
  /** The tensors of the files that the class has in PyTorch, but the model does not compute with. */
  uncomputed: readonly string[];
}

/** Those tensors, by the record. Models that are made of a model have its record, as long as they are not saved. */
export const UNCOMPUTED = new WeakMap<object, Map<string, Values>>();

/** What is to be kept of a model that is made by a config. */
export function hubRecord(
  architecture: Architecture,
  given: HubConfig,
  {head, pooling, labels, labelNames, isNew, tokenTypes}: Purpose,
  uncomputed: Iterable<string>,
  asked?: string,
): HubRecord {
  // As JSON, which is all that a model of tfjs takes with it: an object of a program may have entries without a value.
  const asJSON = JSON.parse(JSON.stringify(given.asObject())) as Record<string, unknown>;
  const {architectures, num_labels: _, ...config} = asJSON;
  const ofHead = Object.keys(architecture.classes).filter(name => architecture.classes[name] === head);
  const [named] = [architectures].flat();
  const className = [asked, named].find(name => ofHead.includes(name as string)) ?? ofHead[0];
  const count = given.get('num_labels');
  const names = labelNames ?? Array.from({length: isNew ? labels : Number(count ?? 0)}, (_, i) => `LABEL_${i}`);
  const own =
    labelNames !== undefined || (names.length > 0 && names.length !== Object.keys(config.id2label ?? {}).length);
  return {
    config: {
      ...config,
      architectures: [className],
      ...(own && {
        id2label: Object.fromEntries(names.map((name, i) => [i, name])),
        label2id: Object.fromEntries(names.map((name, i) => [name, i])),
      }),
    },
    pooling,
    tokenTypes,
    uncomputed: [...uncomputed],
  };
}

/** What a model says that it was made by; nothing of it is believed. */
export function hubRecordOf(model: tf.LayersModel): Partial<Record<keyof HubRecord, unknown>> | undefined {
  const metadata = model.getUserDefinedMetadata() as Record<string, unknown> | undefined;
  const record = metadata?.[HUB];
  return typeof record === 'object' && record !== null ? record : undefined;
}
