import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import type {BlockFormat} from '../../src/quantized/formats';

const FIXTURES = 'test/fixtures/gguf';

/** The models that `test/python/make_gguf.py` writes. */
export const GGUF_NAMES = ['llama', 'llama3', 'kQuants', 'qwen2', 'qwen3', 'gemma3', 'phi3', 'gpt2'];

/** What transformers computes of a file. */
interface Expected {
  ids: number[][];
  /** Every fourth place, and every fifth word. */
  logits: number[];
  greedy: number[];
  texts: [text: string, ids: number[]][];
  /** Of the tokens of each fifty of `drawnTexts`, the first digits of their SHA-256. */
  hashes: string[];
  decoded: string[];
}

export function fileOf(name: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(join(FIXTURES, `${name}.gguf`)));
}

export function expectedOf(name: string): Expected {
  return JSON.parse(readFileSync(join(FIXTURES, `${name}.json`), 'utf8')) as Expected;
}

/** What a file is built of. A value `{text}` or `{list}` has that length, and nothing behind it. */
interface Built {
  pairs: Readonly<Record<string, unknown>>;
  tensors: readonly {name: string; shape: number[]; format: BlockFormat; type: number}[];
  tensorCount?: bigint;
  pairCount?: bigint;
}

/** The header of a GGUF file, without the bytes of its tensors. */
export function builtGGUF({pairs, tensors, tensorCount, pairCount}: Built): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const word = (value: number) => parts.push(new Uint8Array(Uint32Array.of(value).buffer));
  const whole = (value: bigint) => parts.push(new Uint8Array(BigUint64Array.of(value).buffer));
  const text = (value: string) => {
    const bytes = new TextEncoder().encode(value);
    whole(BigInt(bytes.length));
    parts.push(bytes);
  };
  parts.push(new TextEncoder().encode('GGUF'));
  word(3);
  whole(tensorCount ?? BigInt(tensors.length));
  whole(pairCount ?? BigInt(Object.keys(pairs).length));
  for (const [name, value] of Object.entries(pairs)) {
    text(name);
    if (typeof value === 'string') {
      word(8);
      text(value);
    } else if (typeof value === 'number') {
      word(4);
      word(value);
    } else {
      const {text: length, list} = value as {text?: bigint; list?: bigint};
      word(list === undefined ? 8 : 9);
      if (list !== undefined) {
        word(4);
      }
      whole(length ?? list ?? 0n);
    }
  }
  for (const {name, shape, type} of tensors) {
    text(name);
    word(shape.length);
    [...shape].reverse().forEach(size => whole(BigInt(size)));
    word(type);
    whole(0n);
  }
  return new Uint8Array(Buffer.concat(parts));
}
