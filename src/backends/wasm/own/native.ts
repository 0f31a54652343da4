import * as tf from '@tensorflow/tfjs';
import type {WasmBackend} from '../kernel';
import {BINARY} from './binary';
import {isRecorded} from './recorded';
import {areFusedSumsWanted, withFusedSums} from './relaxed';

/** What `../native/index.ts` exports. Its parameters are told there. */
export type NativeFunctions = Readonly<
  Record<
    | 'adam'
    | 'affine'
    | 'convolutionKernelGradient'
    | 'convolve'
    | 'depthwise'
    | 'depthwiseInputGradient'
    | 'depthwiseKernelGradient'
    | 'descend'
    | 'maskByBits'
    | 'maskByOutput'
    | 'momentum'
    | 'multiply'
    | 'multiplyBy4'
    | 'multiplyTransposed'
    | 'normalize'
    | 'packColumns'
    | 'packRows'
    | 'pad'
    | 'scaleColumns'
    | 'toBits'
    | 'transpose'
    | 'turnTaps'
    | 'winogradInput'
    | 'winogradKernel'
    | 'winogradOutput',
    (...args: number[]) => void
  >
> & {readonly sumOfSquares: (place: number, count: number) => number};

/** The parts of tfjs's wasm backend that are not public: its Emscripten module, in its plain build and in the one with threads. */
interface EmscriptenModule {
  readonly HEAPU8: Uint8Array;
  readonly asm?: {readonly memory?: unknown};
  readonly wasmMemory?: unknown;
  _malloc(bytes: number): number;
  _free(address: number): void;
}

interface Internals {
  readonly wasm?: Partial<EmscriptenModule> | null;
  getMemoryOffset?(dataId: tf.DataId): number;
}

/** Places in memory are multiples of this, so that none shares a cache line with the next. */
const ALIGNMENT = 64;

/** Our module in the memory of a backend: functions that take places in memory, and memory to work in. */
export class Native {
  private begin = 0;
  private size = 0;
  /** The functions with fused sums, or the same as always where the engine has none. */
  private fused?: NativeFunctions;

  private constructor(
    private readonly exact: NativeFunctions,
    private readonly backend: WasmBackend & Required<Internals>,
    private readonly module: EmscriptenModule,
    private readonly memory: WebAssembly.Memory,
  ) {}

  /** Loads our module into a backend's memory; `undefined` where that is not reached, or the engine has no SIMD. */
  static load(backend: WasmBackend): Native | undefined {
    const internals = backend as WasmBackend & Internals;
    const {wasm} = internals;
    if (!wasm?.HEAPU8 || !('_malloc' in wasm && '_free' in wasm && 'getMemoryOffset' in internals)) {
      return undefined;
    }
    const memory = [wasm.wasmMemory, wasm.asm?.memory].find(
      (candidate): candidate is WebAssembly.Memory =>
        candidate instanceof WebAssembly.Memory && candidate.buffer === wasm.HEAPU8?.buffer,
    );
    if (memory === undefined) {
      return undefined;
    }
    const functions = instantiate<NativeFunctions>(BINARY, memory);
    return (
      functions && new Native(functions, backend as WasmBackend & Required<Internals>, wasm as EmscriptenModule, memory)
    );
  }

  /** The module's functions: those with fused sums while a gradient is taken, if they are wanted. */
  get functions(): NativeFunctions {
    return areFusedSumsWanted() && isRecorded() ? this.fusedOrExact() : this.exact;
  }

  /** Whether the engine has fused sums. */
  hasFusedSums(): boolean {
    return this.fusedOrExact() !== this.exact;
  }

  private fusedOrExact(): NativeFunctions {
    return (this.fused ??= instantiate(BINARY, this.memory, withFusedSums) ?? this.exact);
  }

  /** The functions of another module of ours, in the same memory; `undefined` where the engine does not compile it. */
  add<Functions>(binary: string): Functions | undefined {
    return instantiate<Functions>(binary, this.memory);
  }

  /** Where a tensor's numbers lie; 0 for none. A tensor of another backend is fetched first. */
  at(tensor: tf.TensorInfo | null | undefined): number {
    return tensor == null ? 0 : this.backend.getMemoryOffset(tensor.dataId);
  }

  /** A new tensor of floats, whose numbers are still to be written. */
  output(shape: number[]): tf.TensorInfo {
    return this.backend.makeOutput(shape, 'float32');
  }

  /** A new tensor of whole numbers, whose numbers are still to be written. */
  words(count: number): tf.TensorInfo {
    return this.backend.makeOutput([count], 'int32');
  }

  /** Memory to work in until the next call of this: a place for each of the sizes in bytes. */
  reserve(...sizes: number[]): number[] {
    const rounded = sizes.map(size => Math.ceil(size / ALIGNMENT) * ALIGNMENT);
    const total = rounded.reduce((sum, size) => sum + size, 0);
    if (total > this.size) {
      this.module._free(this.begin);
      this.size = 0;
      // Emscripten gives addresses beyond 2 GB as negative numbers.
      this.begin = this.module._malloc(total + ALIGNMENT) >>> 0;
      if (this.begin === 0) {
        throw new Error(`The wasm backend has no ${total} bytes of memory left.`);
      }
      this.size = total;
    }
    let next = Math.ceil(this.begin / ALIGNMENT) * ALIGNMENT;
    return rounded.map(size => {
      const place = next;
      next += size;
      return place;
    });
  }

  /** Writes numbers to a place in memory. */
  writeFloats(place: number, values: ArrayLike<number>): void {
    new Float32Array(this.memory.buffer, place, values.length).set(values);
  }

  /** Writes whole numbers to a place in memory. */
  writeIntegers(place: number, values: ArrayLike<number>): void {
    new Int32Array(this.memory.buffer, place, values.length).set(values);
  }

  /** Copies bytes from one place in memory to another. */
  copy(target: number, source: number, bytes: number): void {
    new Uint8Array(this.memory.buffer).copyWithin(target, source, source + bytes);
  }

  /** The numbers at a place in memory, until memory is next asked for. */
  floats(place: number, count: number): Float32Array {
    return new Float32Array(this.memory.buffer, place, count);
  }
}

/** A module in a memory; `undefined` where the engine has no SIMD, or compiles nothing of this size at once. */
function instantiate<Functions>(
  binary: string,
  memory: WebAssembly.Memory,
  changed: (module: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer> = module => module,
): Functions | undefined {
  try {
    const isShared = typeof SharedArrayBuffer === 'function' && memory.buffer instanceof SharedArrayBuffer;
    const bytes = changed(bytesOf(binary));
    const module = new WebAssembly.Module(isShared ? withSharedMemory(bytes) : bytes);
    return new WebAssembly.Instance(module, {env: {memory}}).exports as unknown as Functions;
  } catch {
    return undefined;
  }
}

function bytesOf(hexadecimal: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({length: hexadecimal.length / 2}, (_, i) => parseInt(hexadecimal.slice(2 * i, 2 * i + 2), 16));
}

/** The number of a WebAssembly section that lists imports. */
const IMPORTS = 2;
/** How an import of a memory says its limits: at least none; or shared, at least none and at most 65536 pages. */
const LIMITS = {own: [0, 0], shared: [3, 0, 0x80, 0x80, 4]};

/** A module that imports a memory, and nothing else, as one that imports a memory which threads share. */
export function withSharedMemory(module: Uint8Array): Uint8Array<ArrayBuffer> {
  let section = 8; // behind the magic number and the version
  for (;;) {
    const id = module[section];
    let size = 0;
    let body = section + 1;
    for (let shift = 0; ; shift += 7) {
      const byte = module[body++] as number;
      size |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        break;
      }
    }
    if (id === IMPORTS) {
      const names = module.slice(body, body + size - LIMITS.own.length);
      return Uint8Array.from([
        ...module.slice(0, section),
        ...[IMPORTS, names.length + LIMITS.shared.length],
        ...names,
        ...LIMITS.shared,
        ...module.slice(body + size),
      ]);
    }
    section = body + size;
  }
}
