/** The exports of a module of ours. */
export type ModuleFunctions = Readonly<Record<string, (...args: number[]) => unknown>>;

/** The exports of `../assembly/index.ts`, which documents the parameters. */
export type NativeFunctions = Readonly<
  Record<
    | 'adam'
    | 'affine'
    | 'clamp'
    | 'convolutionKernelGradient'
    | 'convolve'
    | 'depthwise'
    | 'depthwiseInputGradient'
    | 'depthwiseKernelGradient'
    | 'descend'
    | 'flipTaps'
    | 'maskByBits'
    | 'maskByOutput'
    | 'maxPoolGradient'
    | 'momentum'
    | 'multiply'
    | 'multiplyBy4'
    | 'multiplyFew'
    | 'multiplyTransposed'
    | 'normalize'
    | 'packColumns'
    | 'packRows'
    | 'pad'
    | 'scaleColumns'
    | 'toBits'
    | 'transpose'
    | 'winogradInput'
    | 'winogradKernel'
    | 'winogradOutput'
    | 'winogradProducts',
    (...args: number[]) => void
  >
> & {
  readonly holds: (place: number, count: number, value: number) => number;
  readonly sumOfSquares: (place: number, count: number) => number;
};

/**
 * A module of ours, for a memory; `undefined` where the engine has no SIMD, or compiles nothing of this size at once.
 *
 * @param binary as text, see `decodeBinary`.
 * @param changed rewrites the module before it is compiled.
 */
export function compiled(
  binary: string,
  memory: WebAssembly.Memory,
  changed: (module: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer> = module => module,
): WebAssembly.Module | undefined {
  try {
    const bytes = changed(decodeBinary(binary));
    return new WebAssembly.Module(isShared(memory) ? withSharedMemory(bytes) : bytes);
  } catch {
    return undefined;
  }
}

/** The functions of a module, in a memory. */
export function functionsOf<Functions = NativeFunctions>(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
): Functions {
  return new WebAssembly.Instance(module, {env: {memory}}).exports as unknown as Functions;
}

/** A line of the cache, in bytes. */
export const LINE = 64;

/** The first address from `address` on that begins a cache line, so that nothing before it shares one. */
export function aligned(address: number): number {
  return Math.ceil(address / LINE) * LINE;
}

/** Whether threads can share a memory. */
export function isShared({buffer}: WebAssembly.Memory): boolean {
  return typeof SharedArrayBuffer === 'function' && buffer instanceof SharedArrayBuffer;
}

/** Bytes that are written as text: `90·q + r` as `q` tildes and the character `35 + r`. */
export function decodeBinary(text: string): Uint8Array<ArrayBuffer> {
  const bytes = text.match(/~*./g) ?? [];
  return Uint8Array.from(bytes, byte => 90 * (byte.length - 1) + byte.charCodeAt(byte.length - 1) - 35);
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
