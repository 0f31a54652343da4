/** Images are 28×28 bytes, white on black, row after row. */
export const SIDE = 28;
export const PIXELS = SIDE * SIDE;

/** The digits that the base model knows. */
export const KNOWN_DIGITS = [0, 1, 2, 3, 4];
/** The digits that it does not know. `public/samples.bin` contains images of them, digit after digit. */
export const NEW_DIGITS = [5, 6, 7, 8, 9];
/** Images of each new digit to train on, which come first. */
export const TRAINING = 100;
/** Held-out images of each new digit. */
export const HELD_OUT = 40;
