/** A point in space: right, down, and away from the viewer. */
export type Place = readonly [x: number, y: number, z: number];

/** How a hand is held. Angles are in radians. */
export interface Pose {
  /** How far each finger is bent, thumb first: 0 is stretched, 1 a fist. */
  bend: readonly number[];
  /** How far the fingers are apart: 0 is together. */
  spread: number;
  /** Rotations of the whole hand about the axes to the right, down, and towards the viewer. */
  turn: Place;
  /** Whether it is the other hand. */
  isMirrored: boolean;
  /** The length from the wrist to the knuckle of the middle finger, in pixels. */
  size: number;
  /** The position of its center, in pixels. */
  at: readonly [x: number, y: number];
}

/** Fingers as the model counts them: where they begin, which way they point, and their bones; the palm is 1 long. */
const THUMB = {joint: [0.3, -0.2, 0], angle: 0.72, bones: [0.38, 0.32, 0.27]} as const;
const FINGERS = [
  {knuckle: [0.27, -0.95, 0], angle: 0.12, bones: [0.45, 0.27, 0.23]},
  {knuckle: [0.03, -1, 0], angle: 0.02, bones: [0.5, 0.31, 0.24]},
  {knuckle: [-0.19, -0.94, 0], angle: -0.08, bones: [0.46, 0.29, 0.24]},
  {knuckle: [-0.39, -0.82, 0], angle: -0.2, bones: [0.36, 0.21, 0.21]},
] as const;

/** How far each joint of a finger bends in a fist. */
const FIST = [1.4, 1.6, 1.1];

/**
 * Where the 21 landmarks of a hand are in space, in pixels: the wrist, and four of each finger from the thumb on, from
 * its root to its tip. The palm faces who looks.
 */
export function landmarksOf({bend, spread, turn, isMirrored, size, at}: Pose): Place[] {
  const own: Place[] = [[0, 0, 0], ...thumb(bend[0]!)];
  FINGERS.forEach(({knuckle, angle, bones}, i) => {
    own.push(...chain(knuckle, angle * (0.6 + spread), bones, bend[i + 1]!));
  });
  return own.map(([x, y, z]) => {
    const [right, down, away] = turned([isMirrored ? -x : x, y + 0.8, z], turn);
    return [at[0] + size * right, at[1] + size * down, size * away];
  });
}

/** A finger's places, from its knuckle to its tip. It bends towards who looks. */
function chain(knuckle: Place, angle: number, bones: readonly number[], bend: number): Place[] {
  const places: Place[] = [knuckle];
  let [x, y, z] = knuckle;
  let sum = 0;
  bones.forEach((length, i) => {
    sum += FIST[i]! * bend;
    x += length * Math.sin(angle) * Math.cos(sum);
    y -= length * Math.cos(angle) * Math.cos(sum);
    z -= length * Math.sin(sum);
    places.push([x, y, z]);
  });
  return places;
}

/** The thumb's places: bent, it lies across the palm. */
function thumb(bend: number): Place[] {
  const places: Place[] = [THUMB.joint];
  let [x, y, z]: Place = THUMB.joint;
  let {angle}: {angle: number} = THUMB;
  THUMB.bones.forEach((length, i) => {
    angle -= bend * [0.35, 0.65, 0.7][i]!;
    x += length * Math.sin(angle);
    y -= length * Math.cos(angle);
    z -= length * 0.5 * bend;
    places.push([x, y, z]);
  });
  return places;
}

function turned([x, y, z]: Place, [a, b, c]: Place): Place {
  [y, z] = [y * Math.cos(a) - z * Math.sin(a), y * Math.sin(a) + z * Math.cos(a)];
  [x, z] = [x * Math.cos(b) + z * Math.sin(b), z * Math.cos(b) - x * Math.sin(b)];
  return [x * Math.cos(c) - y * Math.sin(c), x * Math.sin(c) + y * Math.cos(c), z];
}
