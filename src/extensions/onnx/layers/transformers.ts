import type {Source} from '../write/graphWriter';
import {attention} from './attention';
import type {Write} from './call';
import {distanceScores, relativeBias} from './distances';
import {biased} from './shapes';
import {SOUND_LAYERS} from './sounds';
import {WINDOW_LAYERS} from './windows';

const tiedDense: Write = (out, call) => {
  const {tableVariable, bias} = call.fields<{tableVariable: Source; bias: Source | null}>();
  const table = out.weight('embeddings', tableVariable);
  const turned = out.once(`turned ${table}`, () => out.node('Transpose', [table], {perm: [1, 0]}));
  return call.output(biased(out, out.node('MatMul', [out.plain(call.input), turned]), bias));
};

/**
 * The layers that have no formula, by the names of their classes. A page that has such a layer has loaded
 * `tfjs-lora/transformers`.
 */
export const TRANSFORMER_LAYERS: Readonly<Record<string, Write>> = Object.fromEntries(
  Object.entries<Write>({
    Attention: attention,
    TiedDense: tiedDense,
    RelativeBias: relativeBias,
    DistanceScores: distanceScores,
    ...SOUND_LAYERS,
    ...WINDOW_LAYERS,
  }).map(([name, write]) => [`tfjs-lora/transformers>${name}`, write]),
);
