import type {HubConfig} from '../net/hubConfig';
import type {Rotary} from '../layers/rotaryAngles';
import {positive, type RotarySizes, type Scaling, scaledRotary, scalingFieldsOf} from './llamaRotary';

/** What the angles of a part of each head are read from. */
interface PartialSources {
  /** The field of the base. Default: `rope_theta`. */
  theta?: string;
  /** The field of the part, and its default. */
  share?: {field: string; usual: number};
  /** The fields of the scaling. Default: those in the config. */
  scaling?: Scaling;
  /** The values that may be the trained length. Default: those in the config. */
  positions?: readonly unknown[];
  /** The known scalings. Default: all. */
  supported?: readonly string[];
  /** Whether an odd number of values is refused; otherwise the last pair has one value more. Default: false. */
  even?: boolean;
}

/** The angles of the first values of each head; the others are not rotated. */
export function partialRotary(
  config: HubConfig,
  {size, isPlan}: RotarySizes,
  {
    theta = 'rope_theta',
    share: {field, usual} = {field: 'partial_rotary_factor', usual: 1},
    scaling = scalingFieldsOf(config),
    positions = [config.get('original_max_position_embeddings'), scaling.original_max_position_embeddings],
    supported,
    even = false,
  }: PartialSources,
): Rotary {
  const base = positive(config, theta, scaling.rope_theta, config.get(theta), 10_000);
  const share = positive(config, field, scaling.partial_rotary_factor, config.get(field), usual);
  const rotated = Math.floor(size * share);
  const pairs = Math.ceil(rotated / 2);
  if (2 * pairs > size || pairs === 0 || (even && rotated % 2 !== 0)) {
    config.fault(
      `${field} ${share} leaves ${rotated} of ${size} values of a head to rotate; pairs need an even number.`,
    );
    return {};
  }
  return scaledRotary(config, scaling, {base, positions, size: rotated, isPlan}, supported);
}
