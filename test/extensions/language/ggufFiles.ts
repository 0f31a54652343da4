import {readFileSync} from 'node:fs';
import {join} from 'node:path';

const FIXTURES = 'test/fixtures/gguf';

/** The models that `test/python/make_gguf.py` writes. */
export const GGUF_NAMES = ['llama', 'llama3', 'kQuants', 'qwen2', 'qwen3', 'gemma3', 'phi3', 'gpt2'];

/** Those of architectures whose tokenizers are like those of others. */
export const MORE_GGUF_NAMES = ['gemma', 'gemma2', 'olmo2', 'olmo3', 'phi2', 'gptneox', 'lfm2'];

/** What transformers computes of a file. */
interface Expected {
  ids: number[][];
  /** Every fourth position, and every fifth token. */
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

/**
 * What a pair may be; a number is one of 32 bits without a sign. `{text}` and `{list}` say a length, and nothing
 * follows.
 */
export type BuiltValue =
  | string
  | number
  | boolean
  | {float32: number}
  | {text: bigint}
  | {list: bigint}
  | Float32Array
  | Int32Array
  | readonly (string | number | boolean)[];

/** What a file is built of. */
interface Built {
  pairs: Readonly<Record<string, BuiltValue>>;
  /** Those without numbers all begin where the bytes of tensors do, unless `bytes` says how many will follow. */
  tensors: readonly {
    name: string;
    shape: readonly number[];
    type: number;
    data?: Float32Array | Uint8Array;
    bytes?: number;
  }[];
  tensorCount?: bigint;
  pairCount?: bigint;
}

const ALIGNMENT = 32;

/** A GGUF file, or its header, without the numbers of its tensors. */
export function builtGGUF({pairs, tensors, tensorCount, pairCount}: Built): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const word = (value: number) => parts.push(new Uint8Array(Uint32Array.of(value).buffer));
  const float = (value: number) => parts.push(new Uint8Array(Float32Array.of(value).buffer));
  const whole = (value: bigint) => parts.push(new Uint8Array(BigUint64Array.of(value).buffer));
  const text = (value: string) => {
    const bytes = new TextEncoder().encode(value);
    whole(BigInt(bytes.length));
    parts.push(bytes);
  };
  const typeOf = (value: string | number | boolean) => ({string: 8, number: 4, boolean: 7})[typeof value as 'string'];
  const scalar = (value: string | number | boolean) =>
    typeof value === 'string'
      ? text(value)
      : typeof value === 'number'
        ? word(value)
        : parts.push(Uint8Array.of(Number(value)));
  parts.push(new TextEncoder().encode('GGUF'));
  word(3);
  whole(tensorCount ?? BigInt(tensors.length));
  whole(pairCount ?? BigInt(Object.keys(pairs).length));
  for (const [name, value] of Object.entries(pairs)) {
    text(name);
    if (typeof value !== 'object') {
      word(typeOf(value));
      scalar(value);
    } else if (value instanceof Float32Array || value instanceof Int32Array) {
      [9, value instanceof Int32Array ? 5 : 6].forEach(word);
      whole(BigInt(value.length));
      parts.push(new Uint8Array(value.buffer));
    } else if ('float32' in value) {
      word(6);
      float(value.float32);
    } else if ('text' in value) {
      word(8);
      whole(value.text);
    } else if ('list' in value) {
      [9, 4].forEach(word);
      whole(value.list);
    } else {
      [9, typeOf(value[0] ?? 0)].forEach(word);
      whole(BigInt(value.length));
      value.forEach(scalar);
    }
  }
  let end = 0;
  for (const {name, shape, type, data, bytes = data?.byteLength ?? 0} of tensors) {
    text(name);
    word(shape.length);
    [...shape].reverse().forEach(size => whole(BigInt(size)));
    word(type);
    whole(BigInt(end));
    end += Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
  }
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(tensors.some(({data}) => data) ? Math.ceil(size / ALIGNMENT) * ALIGNMENT + end : size);
  bytes.set(Buffer.concat(parts));
  let at = bytes.length - end;
  for (const {data} of tensors) {
    if (data !== undefined) {
      bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
      at += Math.ceil(data.byteLength / ALIGNMENT) * ALIGNMENT;
    }
  }
  return bytes;
}
