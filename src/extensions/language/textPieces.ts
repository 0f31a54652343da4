import type {Tokenizer} from '../transformers/load/tokenizer';

/** The decoder's replacement for bytes that are not, or not yet, a character. */
const UNFINISHED = '\ufffd';
/** This many earlier tokens are decoded too, since some decode differently at the start of a text. */
const BEFORE = 6;

/** Turns tokens into pieces of whole characters. Holds back text that may be the start of a stop. */
export class TextPieces {
  private ids: number[];
  /** How many of the characters have been returned. */
  private returned: number;
  /** Text that may be the start of a stop. */
  private held = '';
  /** Whether a stop was found. */
  stopped = false;

  constructor(
    private readonly decoder: Pick<Tokenizer, 'decode'>,
    prompt: readonly number[],
    private readonly stops: readonly string[],
  ) {
    this.ids = prompt.slice(-BEFORE);
    while (this.textOf(this.ids).endsWith(UNFINISHED)) {
      this.ids.pop();
    }
    this.returned = this.ids.length;
  }

  private textOf(ids: readonly number[]): string {
    return ids.length === 0 ? '' : this.decoder.decode([...ids], {skip_special_tokens: true});
  }

  /** The text that a token adds; may be empty. */
  add(id: number): string {
    this.ids.push(id);
    const text = this.textOf(this.ids);
    return text.endsWith(UNFINISHED) ? '' : this.release(this.newText(text), false);
  }

  /** Returns the remaining text at the end. */
  end(): string {
    return this.stopped ? '' : this.release(this.newText(this.textOf(this.ids)), true);
  }

  private newText(text: string): string {
    const before = this.textOf(this.ids.slice(0, this.returned));
    this.ids = this.ids.slice(Math.max(0, this.ids.length - BEFORE));
    this.returned = this.ids.length;
    return text.slice(before.length);
  }

  private release(text: string, isEnd: boolean): string {
    const all = this.held + text;
    const ends = this.stops.map(stop => all.indexOf(stop)).filter(at => at >= 0);
    if (ends.length > 0) {
      this.stopped = true;
      return all.slice(0, Math.min(...ends));
    }
    const open = isEnd ? 0 : Math.max(0, ...this.stops.map(stop => startOf(stop, all)));
    this.held = all.slice(all.length - open);
    return all.slice(0, all.length - open);
  }
}

/** How many characters at the end of a text may be the start of a stop. */
function startOf(stop: string, text: string): number {
  let length = Math.min(stop.length - 1, text.length);
  while (!text.endsWith(stop.slice(0, length))) {
    length--;
  }
  return length;
}
