import type {SpeechFacts} from '../transformers/load/speechFacts';

/** A part of a transcript between two timestamps. */
export interface Segment {
  /** In positions of the encoder, from the start of the window. */
  start: number;
  end: number;
  /** Without the timestamps. */
  tokens: number[];
}

/** The frames of a position of the encoder, and its seconds. */
export const STRIDE = 2;
export const SECONDS = 0.02;

/**
 * Splits the tokens of a window into segments, as `generate` of transformers does: at pairs of timestamps. Tokens after
 * the last pair are dropped, because the next window begins there. They are kept if the window ends with a single
 * timestamp, which means that nothing is said after it.
 *
 * @param frames of the window that are of the clip.
 * @returns the segments, and by how many frames to move on.
 */
export function segmentsIn(
  tokens: readonly number[],
  {noTimestamps = Infinity}: SpeechFacts,
  frames: number,
): {segments: Segment[]; advance: number} {
  const position = (i: number) => (tokens[i] as number) - noTimestamps - 1;
  const times = [...tokens.keys()].filter(i => position(i) >= 0);
  const isTime = (i: number) => times.includes(i);
  const segment = (from: number, to: number, start: number, end: number): Segment => ({
    start,
    end,
    tokens: tokens.slice(from, to).filter(token => token <= noTimestamps),
  });
  const pairs = times.filter(i => isTime(i - 1));
  if (pairs.length === 0) {
    const last = times.length === 0 ? 0 : position(times.at(-1) as number);
    return {segments: [segment(0, tokens.length, 0, last || Math.floor(frames / STRIDE))], advance: frames};
  }
  const isEnded = isTime(tokens.length - 1) && !isTime(tokens.length - 2);
  const ends = isEnded ? [...pairs, tokens.length] : pairs;
  return {
    segments: ends.map((to, i) => segment(ends[i - 1] ?? 0, to, position(ends[i - 1] ?? 0), position(to - 1))),
    advance: isEnded ? frames : STRIDE * position((ends.at(-1) as number) - 1),
  };
}
