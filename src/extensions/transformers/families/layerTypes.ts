import {show} from '../../../platform/errors';
import type {HubConfig} from '../net/hubConfig';

const TYPES = ['full_attention', 'sliding_attention'];

/** Which blocks have a sliding window: by `layer_types`, or in configs without it by the block's index. */
export function windowedBlocks(config: HubConfig, count: number, otherwise: (i: number) => boolean): boolean[] {
  const types = config.get('layer_types') ?? null;
  if (types === null) {
    return Array.from({length: count}, (_, i) => otherwise(i));
  }
  if (!Array.isArray(types) || types.length !== count || types.some(type => !TYPES.includes(type as string))) {
    config.fault(`layer_types must list ${TYPES.join(' or ')} for each of ${count} blocks, got ${show(types)}.`);
    return [];
  }
  return types.map(type => type === 'sliding_attention');
}
