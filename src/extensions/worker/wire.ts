import {LoRAError} from '../../platform/errors';

/** What both sides of a call send each other. */
export type Message =
  | {readonly value: unknown}
  | {readonly error: unknown}
  | {readonly iterates: true}
  | {readonly next: IteratorResult<unknown>}
  | {readonly callback: number; readonly args: readonly unknown[]};

/** What the caller sends after the call itself. */
export type Request = {readonly abort: number; readonly reason: unknown} | {readonly go: 'next' | 'return'};

/** A call of a function by its name, with the port for everything that follows. */
export interface Call {
  readonly call: string;
  readonly args: unknown;
  readonly port: MessagePort;
}

/** A function or a signal, which stays with the caller, by its index. */
export interface Reference {
  readonly index: number;
  readonly isSignal: boolean;
  /** Whether the signal was aborted before the call. */
  readonly aborted: boolean;
  /** As an error is sent: not every engine clones a `DOMException`. */
  readonly reason: unknown;
}

/** The key under which a reference stands in place of a value. */
export const REFERENCE = 'tfjs-lora.reference';

const transferred = new WeakSet();

/**
 * Marks an argument or result of a call whose buffers are moved to the other thread instead of being copied. Afterwards
 * they are empty here.
 *
 * @param value a buffer, a typed array, or an object or list of these.
 * @returns the same value.
 * @example
 *     serve({train: async options => transfer(await toSafetensors(await trained(options)))});
 * @experimental
 */
export function transfer<T extends object>(value: T): T {
  transferred.add(value);
  return value;
}

/** A value as it is sent. */
export interface Packed {
  readonly value: unknown;
  readonly buffers: ArrayBuffer[];
  /** Functions and signals, by index. */
  readonly references: (((...args: readonly unknown[]) => unknown) | AbortSignal)[];
}

/** @throws LoRAError if it has a tensor, which belongs to one thread. */
export function packed(value: unknown): Packed {
  const buffers = new Set<ArrayBuffer>();
  const references: Packed['references'] = [];
  const pack = (value: unknown, isMoved: boolean): unknown => {
    if (typeof value === 'function' || value instanceof AbortSignal) {
      const {aborted = false, reason} = value as Partial<Pick<Reference, 'aborted' | 'reason'>>;
      const index = references.push(value as Packed['references'][number]) - 1;
      return {
        [REFERENCE]: {
          index,
          isSignal: typeof value !== 'function',
          aborted,
          reason: packedError(reason),
        } satisfies Reference,
      };
    }
    if (typeof value !== 'object' || value === null) {
      return value;
    }
    if ('dataSync' in value) {
      throw new LoRAError('A tensor belongs to one thread. Send its values: await tensor.data(), and its shape.');
    }
    const moves = isMoved || transferred.has(value);
    const buffer = ArrayBuffer.isView(value) ? value.buffer : value;
    if (moves && Object.prototype.toString.call(buffer) === '[object ArrayBuffer]') {
      buffers.add(buffer as ArrayBuffer);
    }
    if (Array.isArray(value)) {
      return value.map(entry => pack(entry, moves));
    }
    return isPlain(value)
      ? Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, pack(entry, moves)]))
      : value;
  };
  return {value: pack(value, false), buffers: [...buffers], references};
}

/** Whether an object is of no class, in any realm. */
function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value) as object | null;
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** A value that was sent, with what stands for its references. */
export function unpacked(value: unknown, refer: (reference: Reference) => unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(entry => unpacked(entry, refer));
  }
  if (typeof value !== 'object' || value === null || !isPlain(value)) {
    return value;
  }
  const {[REFERENCE]: reference} = value as {[REFERENCE]?: Reference};
  return reference
    ? refer(reference)
    : Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, unpacked(entry, refer)]));
}

/** An error as it is sent: structured clones have neither the code of an error nor the name of its class. */
export function packedError(error: unknown): unknown {
  const {name, message, stack, code, faults} = (error ?? {}) as Partial<LoRAError>;
  return typeof message === 'string' ? {name, message, stack, code, faults} : error;
}

export function unpackedError(error: unknown): unknown {
  const {name, message, stack, code, faults} = (error ?? {}) as Partial<LoRAError>;
  if (typeof message !== 'string') {
    return error;
  }
  return name === 'LoRAError'
    ? Object.assign(new LoRAError(message, {code, faults}), {stack})
    : Object.assign(new Error(message), {name, stack}, code === undefined ? {} : {code});
}
