import type * as tf from '@tensorflow/tfjs';
import {checkCount, kindOf, type KnownOptions, LoRAError, throwFaults} from '../../../platform/errors';
import {type CallOptions, checkCallOptions, stepsOf} from '../../../platform/signals';
import {type SeededBatches, SeededDataset} from '../../../core/training/seededBatches';
import {type EncodedText, textEncoder, type TextInput, type Tokenizer} from './tokenizer';

/** How records with texts become batches. */
export interface TextBatchOptions extends CallOptions {
  /** Longer texts are truncated to this many tokens. Default: the length of the model's position embedding, if any. */
  maxLength?: number;
  /** How many records a batch has. Default: 32. */
  batchSize?: number;
  /** An integer that determines the order of the records in every epoch. Default: random. */
  seed?: number;
  /** Pads batches to a multiple of this many positions: some backends compile for each length. Default: 16. */
  padToMultipleOf?: number;
}

export const TEXT_BATCH_OPTIONS: KnownOptions<TextBatchOptions> = {
  ...{maxLength: true, batchSize: true, seed: true, padToMultipleOf: true, signal: true, onProgress: true},
};

/** @throws LoRAError with a line for each fault, if records are not a list of objects without faults. */
export function checkRecords<T extends object>(
  records: readonly T[],
  example: string,
  faultsOf: (record: {readonly [K in keyof T]?: unknown}) => readonly string[],
): void {
  if (!Array.isArray(records) || records.length === 0) {
    const got = Array.isArray(records) ? 'an empty one' : kindOf(records);
    throw new LoRAError(`records must be a list such as [${example}], got ${got}.`);
  }
  throwFaults(
    records.flatMap((record: unknown, i) =>
      typeof record === 'object' && record !== null
        ? faultsOf(record as Partial<T>).map(fault => `Record ${i}: ${fault}.`)
        : [`Record ${i} must be an object such as ${example}, got ${kindOf(record)}.`],
    ),
  );
}

/**
 * Encodes the texts of records as batches. The rows of a batch are the first text of each record, then the second of
 * each, and so on.
 *
 * @param targetsOf makes the targets of the records with some indices, which have this many rows.
 */
export async function textBatches(
  model: tf.LayersModel,
  tokenizer: Pick<Tokenizer, 'encode'>,
  records: readonly (readonly TextInput[])[],
  options: TextBatchOptions,
  targetsOf: (indices: Int32Array, rows: number) => tf.Tensor,
): Promise<SeededBatches> {
  const {batchSize = 32, seed = Math.floor(Math.random() * 2 ** 31), maxLength, padToMultipleOf = 16} = options;
  checkCount('batchSize', batchSize);
  checkCallOptions(options);
  const limits = maxLength === undefined ? {} : {maxLength};
  const {encode, batch} = textEncoder(model, tokenizer, {...limits, padToMultipleOf});
  const step = stepsOf(options);
  const encoded: EncodedText[][] = [];
  for (const texts of records) {
    await step({done: encoded.length, total: records.length, what: 'encoding records'});
    encoded.push(texts.map(encode));
  }
  await step({done: records.length, total: records.length, what: 'encoding records'});
  const most = records.reduce((count, texts) => Math.max(count, texts.length), 0);
  const gather = (indices: Int32Array) => {
    const columns = Array.from({length: most}, (_, column) => Array.from(indices, i => encoded[i]?.[column] ?? []));
    const rows = columns.flat(2);
    const {inputs, ...named} = batch(rows);
    const unused = Object.values(named).filter(tensor => !inputs.includes(tensor));
    unused.forEach(tensor => tensor.dispose());
    return {xs: inputs, ys: targetsOf(indices, rows.length)};
  };
  return new SeededDataset(records.length, gather, {batchSize, seed});
}
