import {SIDE} from '../looks';

const FINGERS = ['Thumb', 'Index finger', 'Middle finger', 'Ring finger', 'Little finger'];

/** The names of the 21 landmarks, in the model's order. */
export const NAMES: readonly string[] = [
  'Wrist',
  ...FINGERS.flatMap(finger => {
    const joints = finger === 'Thumb' ? ['root', 'knuckle', 'joint'] : ['knuckle', 'middle joint', 'last joint'];
    return [...joints, 'tip'].map(joint => `${finger}, ${joint}`);
  }),
];

/** Which landmarks a line joins. */
export const BONES: readonly (readonly [from: number, to: number])[] = [
  ...[0, 1, 2, 3, 4].flatMap(finger => [1, 2, 3].map(i => [4 * finger + i, 4 * finger + i + 1] as const)),
  ...[1, 5, 17].map(root => [0, root] as const),
  ...[5, 9, 13].map(knuckle => [knuckle, knuckle + 4] as const),
];

/** Shows an image, and landmarks on it in the color of the canvas. Each has three values in pixels. */
export function show(
  canvas: HTMLCanvasElement,
  picture: HTMLCanvasElement | null,
  landmarks: readonly number[] | null,
) {
  const context = canvas.getContext('2d')!;
  const {width} = canvas;
  context.clearRect(0, 0, width, width);
  if (picture !== null) {
    context.drawImage(picture, 0, 0, width, width);
  }
  if (landmarks === null) {
    return;
  }
  const scale = width / SIDE;
  const pen = Math.max(0.35, scale / 2);
  const at = (i: number) => [scale * landmarks[3 * i]!, scale * landmarks[3 * i + 1]!] as const;
  const colour = getComputedStyle(canvas).getPropertyValue('--points');
  // A dark line under a light one is visible on any image.
  for (const [style, thickness] of [
    ['#000', 5 * pen],
    [colour, 2.5 * pen],
  ] as const) {
    Object.assign(context, {strokeStyle: style, fillStyle: style, lineWidth: thickness, lineCap: 'round'});
    context.beginPath();
    for (const [from, to] of BONES) {
      context.moveTo(...at(from));
      context.lineTo(...at(to));
    }
    context.stroke();
    NAMES.forEach((_, i) => {
      context.beginPath();
      context.arc(...at(i), 2 * pen + thickness, 0, 2 * Math.PI);
      context.fill();
    });
  }
}
