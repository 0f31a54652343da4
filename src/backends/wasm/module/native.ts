import * as tf from '@tensorflow/tfjs';
import type {WasmBackend} from '../../shared/kernel';
import {BINARY} from './binary';
import {aligned, compiled, functionsOf, LINE, type ModuleFunctions, type NativeFunctions} from './module';
import {isTakingGradient} from '../../../platform/tfjs/engine';
import {areFusedSumsWanted} from '../../shared/tryOut';
import {withFusedSums} from './relaxed';
import {type Part, partsOf, Threads, type ThreadSource, webWorkers, worthCalling} from './threads';

/** The private parts of tfjs's wasm backend: its Emscripten module, with or without threads. */
interface EmscriptenModule {
  readonly HEAPU8: Uint8Array;
  readonly asm?: {readonly memory?: unknown};
  readonly wasmMemory?: unknown;
  readonly tfjs?: {getThreadsCount?(): number};
  _malloc(bytes: number): number;
  _free(address: number): void;
}

interface Internals {
  readonly wasm?: Partial<EmscriptenModule> | null;
  getMemoryOffset?(dataId: tf.DataId): number;
}

/** Memory of the module: what was allocated, and the aligned address in it. */
export interface Allocation {
  readonly begin: number;
  readonly address: number;
  readonly bytes: number;
}

/** The functions of another module. */
export interface AddedFunctions<Functions> {
  readonly functions: Functions;
  /** The functions that compute a part, given those that `runParts` passes for it. */
  readonly beside: (exactFunctions: NativeFunctions) => Functions;
}

/** The cost of an elementwise operation, in multiplications a value: fetching a value takes as long. */
export const BY_NUMBER = 8;

const sources = new WeakMap<object, ThreadSource>();

/** Makes our module take its threads from here in the memory of a backend, rather than from where tfjs has its own. */
export function useThreads(backend: WasmBackend, source: ThreadSource): void {
  sources.set(backend, source);
}

/** Our module in a backend's memory: functions that take addresses, memory to work in, and threads. */
export class Native {
  private begin = 0;
  private size = 0;
  /** The functions with fused sums, or the same as always where the engine has none. */
  private fused?: NativeFunctions;

  /**
   * @param fusedCode gives the module with fused sums, if the engine has these, compiled when it is first asked for.
   */
  private constructor(
    private readonly exact: NativeFunctions,
    private readonly fusedCode: () => WebAssembly.Module | undefined,
    private readonly backend: WasmBackend & Required<Internals>,
    private readonly module: EmscriptenModule,
    private readonly memory: WebAssembly.Memory,
    private readonly threads: Threads | undefined,
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
    const code = compiled(BINARY, memory);
    if (code === undefined) {
      return undefined;
    }
    const emscripten = wasm as EmscriptenModule;
    let fused: {code: WebAssembly.Module | undefined} | undefined;
    const fusedCode = () => (fused ??= {code: compiled(BINARY, memory, withFusedSums)}).code;
    const source = sources.get(backend) ?? webWorkers(emscripten.tfjs?.getThreadsCount?.() ?? 1);
    const threads = Threads.start(source, {
      memory,
      modules: () => {
        const withSums = fusedCode();
        return withSums === undefined ? [code] : [code, withSums];
      },
      allocate: bytes => emscripten._malloc(bytes) >>> 0,
      owner: backend,
    });
    const exactFunctions = functionsOf(code, memory);
    return new Native(
      exactFunctions,
      fusedCode,
      backend as WasmBackend & Required<Internals>,
      emscripten,
      memory,
      threads,
    );
  }

  /** The module's functions: those with fused sums while a gradient is taken, if they are wanted. */
  get functions(): NativeFunctions {
    return areFusedSumsWanted() && isTakingGradient() ? this.fusedOrExact() : this.exact;
  }

  /** How many threads an operation may use now. */
  get threadCount(): number {
    return this.threads?.available() ?? 1;
  }

  /**
   * The parts in which `count` things are to be computed: one for each thread, of as many whole `units` as the others.
   *
   * @param work about how many multiplications they take. For few, no other thread is called.
   */
  partsOf(count: number, unit: number, work: number): Part[] {
    return partsOf(count, unit, worthCalling(this.threadCount, work));
  }

  /** Computes parts at the same time, each by the calls that `compute` makes for it. */
  runParts(parts: readonly Part[], compute: (functions: NativeFunctions, range: Part, i: number) => void): void {
    const {functions} = this;
    if (parts.length > 1 && this.threads !== undefined) {
      this.threads.run(parts, compute, functions, functions !== this.exact);
    } else {
      parts.forEach((range, i) => {
        compute(functions, range, i);
      });
    }
  }

  /** Whether the engine has fused sums. */
  hasFusedSums(): boolean {
    return this.fusedOrExact() !== this.exact;
  }

  private fusedOrExact(): NativeFunctions {
    if (this.fused !== undefined) {
      return this.fused;
    }
    const code = this.fusedCode();
    const fused = code === undefined ? this.exact : functionsOf(code, this.memory);
    this.fused = fused;
    return fused;
  }

  /** The functions of another module of ours, in the same memory; `undefined` where the engine does not compile it. */
  add<Functions extends ModuleFunctions>(binary: string): AddedFunctions<Functions> | undefined {
    const code = compiled(binary, this.memory);
    if (code === undefined) {
      return undefined;
    }
    const functions = functionsOf<Functions>(code, this.memory);
    return {functions, beside: this.threads?.add(code, functions) ?? (() => functions)};
  }

  /** The address of a tensor's values; 0 for none. A tensor of another backend is fetched first. */
  at(tensor: tf.TensorInfo | null | undefined): number {
    return tensor == null ? 0 : this.backend.getMemoryOffset(tensor.dataId);
  }

  /** A new tensor of floats, not yet written. */
  output(shape: number[]): tf.TensorInfo {
    return this.backend.makeOutput(shape, 'float32');
  }

  /** A new tensor of integers, not yet written. */
  words(count: number): tf.TensorInfo {
    return this.backend.makeOutput([count], 'int32');
  }

  /** Scratch memory until the next call of this: an address for each of the sizes in bytes. */
  reserve(...sizes: number[]): number[] {
    const rounded = sizes.map(aligned);
    const total = rounded.reduce((sum, size) => sum + size, 0);
    if (total > this.size) {
      this.module._free(this.begin);
      this.begin = this.size = 0; // also if there is no memory, for which guardHeap throws
      // Emscripten gives addresses beyond 2 GB as negative numbers.
      this.begin = this.module._malloc(total + LINE) >>> 0;
      this.size = total;
    }
    let next = aligned(this.begin);
    return rounded.map(size => {
      const place = next;
      next += size;
      return place;
    });
  }

  /** Memory that stays until `free`. */
  allocate(bytes: number): Allocation {
    const begin = this.module._malloc(bytes + LINE) >>> 0;
    return {begin, address: aligned(begin), bytes};
  }

  free({begin}: Allocation): void {
    this.module._free(begin);
  }

  /** Writes floats to an address in memory. */
  writeFloats(place: number, values: ArrayLike<number>): void {
    new Float32Array(this.memory.buffer, place, values.length).set(values);
  }

  /** Writes integers to an address in memory. */
  writeIntegers(place: number, values: ArrayLike<number>): void {
    new Int32Array(this.memory.buffer, place, values.length).set(values);
  }

  /** The bytes at an address in memory. The view is valid until memory is next allocated. */
  bytes(place: number, count: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, place, count);
  }

  /** Copies bytes from one address in memory to another. */
  copy(target: number, source: number, bytes: number): void {
    new Uint8Array(this.memory.buffer).copyWithin(target, source, source + bytes);
  }

  /** The values at an address in memory. The view is valid until memory is next allocated. */
  floats(place: number, count: number): Float32Array {
    return new Float32Array(this.memory.buffer, place, count);
  }
}
