import type * as tf from '@tensorflow/tfjs';
import {misfitError} from '../../../platform/errors';
import type {Pooling} from '../net/architecture';
import {HubConfig} from '../net/hubConfig';
import {hubRecordOf} from '../net/hubRecord';
import {chooseArchitecture} from './architectures';

/**
 * The record of a model, and what its config says of it.
 *
 * @throws LoRAError `ERR_MISFIT` if there is no record.
 */
export async function recordedModel(model: tf.LayersModel) {
  const record = hubRecordOf(model);
  if (record === undefined) {
    throw misfitError(
      'The model has no record of its config. Models of loadTransformer and loadGGUF have one, also merged and ' +
        'saved too.',
    );
  }
  const hubConfig = HubConfig.parse(record.config as object);
  const chosen = await chooseArchitecture(hubConfig, {
    ...(record.pooling !== undefined && {pooling: record.pooling as Pooling}),
    tokenTypes: record.tokenTypes === true,
    ...(record.outputs !== undefined && {outputs: record.outputs as string[]}),
  });
  return {record, ...chosen};
}
