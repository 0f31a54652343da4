import {drawHand, type Look} from './drawing';
import type {Pose} from './skeleton';

/** Width and height of the model's input, in pixels. */
export const SIDE = 224;

/**
 * A bare hand in front of a plain wall, as the model knows it; a striped glove in front of squares; and a glove whose
 * colors are also those of the squares.
 */
export const LOOKS = {
  bare: {
    fingers: [[222, 170, 140]],
    palm: [222, 170, 140],
    arm: [222, 170, 140],
    thickness: 1,
    ground: [
      [110, 130, 140],
      [118, 136, 146],
    ],
  },
  glove: {
    fingers: [
      [235, 235, 230],
      [30, 32, 40],
    ],
    palm: [30, 32, 40],
    arm: [90, 100, 120],
    thickness: 1.15,
    ground: [
      [150, 150, 145],
      [50, 52, 60],
      [110, 110, 110],
    ],
  },
  camouflage: {
    fingers: [
      [90, 100, 60],
      [60, 50, 40],
    ],
    palm: [110, 110, 80],
    arm: [90, 100, 60],
    thickness: 1.1,
    ground: [
      [90, 100, 60],
      [60, 50, 40],
      [130, 125, 95],
    ],
  },
} satisfies Record<string, Omit<Look, 'seed' | 'light'>>;

export type LookName = keyof typeof LOOKS;

/** A random pose with most fingers stretched. */
export function randomPose(random: () => number): Pose {
  const either = (most: number) => most * (2 * random() - 1);
  return {
    bend: Array.from({length: 5}, () => (random() < 0.6 ? 0.15 * random() : 0.3 + 0.6 * random())),
    spread: 0.4 + random(),
    turn: [either(0.4), either(0.4), either(0.5)],
    isMirrored: random() < 0.5,
    size: 72 + 16 * random(),
    at: [SIDE / 2 + either(10), SIDE / 2 + either(10)],
  };
}

/** An image of a hand in a pose, as RGB values from 0 to 255. */
export function picture(pose: Pose, look: LookName, random: () => number): Uint8Array {
  const seed = Math.floor(2 ** 32 * random());
  return drawHand(pose, {...LOOKS[look], seed, light: [1.2 * random() - 0.6, -0.6]}, SIDE);
}

/** An image of the background without a hand. */
export function pictureOfGround(look: LookName, random: () => number): Uint8Array {
  return picture({...randomPose(random), size: 1, at: [-10 * SIDE, 0]}, look, random);
}
