import {HELD_OUT, type LabelledImages, NEW_DIGITS, PIXELS, TRAINING} from '../format';

/** The images of new digits that the page includes. */
export class DigitImages {
  private shown = 0;

  private constructor(private readonly images: readonly Uint8Array[]) {}

  static async load(url: string): Promise<DigitImages> {
    const {body} = await fetch(url);
    const unpacked = new Response(body!.pipeThrough(new DecompressionStream('deflate')));
    const bytes = new Uint8Array(await unpacked.arrayBuffer());
    const count = bytes.length / PIXELS;
    return new DigitImages(Array.from({length: count}, (_, i) => bytes.slice(i * PIXELS, (i + 1) * PIXELS)));
  }

  /** The next training images of a digit that are not in `present`, if there are any. */
  take(digit: number, count: number, present: readonly Uint8Array[]): Uint8Array[] {
    const free = this.imagesOf(digit)
      .slice(0, TRAINING)
      .filter(image => !present.some(other => isSame(image, other)));
    return free.slice(0, count);
  }

  /** One of the held-out images, another one each time. */
  unseen(): {digit: number; image: Uint8Array} {
    const digit = NEW_DIGITS[this.shown % NEW_DIGITS.length]!;
    const number = TRAINING + (Math.floor(this.shown / NEW_DIGITS.length) % HELD_OUT);
    this.shown++;
    return {digit, image: this.imagesOf(digit)[number]!};
  }

  /** The held-out images of the digits that are among the labels. */
  heldOut(labels: readonly string[]): LabelledImages {
    const images: Uint8Array[] = [];
    const classes: number[] = [];
    for (const digit of NEW_DIGITS) {
      const label = labels.indexOf(String(digit));
      if (label >= 0) {
        images.push(...this.imagesOf(digit).slice(TRAINING));
        classes.push(...Array.from({length: HELD_OUT}, () => label));
      }
    }
    return {images, classes};
  }

  private imagesOf(digit: number): readonly Uint8Array[] {
    const start = NEW_DIGITS.indexOf(digit) * (TRAINING + HELD_OUT);
    return this.images.slice(start, start + TRAINING + HELD_OUT);
  }
}

function isSame(image: Uint8Array, other: Uint8Array): boolean {
  return image.every((value, i) => value === other[i]);
}
