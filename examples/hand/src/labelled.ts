import {isHeldOut} from '../../shared/page/heldOut';

/** A frame that a visitor has corrected. */
export interface Labelled {
  picture: ImageData;
  /** The x, y, and z of each of the 21 landmarks, in pixels of the image. `null` without a hand. */
  landmarks: readonly number[] | null;
}

/** Which frames are held out: every third of those with a hand, and every third of those without one. */
export function heldOutOf(frames: readonly Pick<Labelled, 'landmarks'>[]): boolean[] {
  const counts = {hand: 0, none: 0};
  return frames.map(({landmarks}) => isHeldOut(counts[landmarks === null ? 'none' : 'hand']++));
}
