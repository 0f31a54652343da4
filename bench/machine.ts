import {readFileSync} from 'node:fs';
import {arch, cpus} from 'node:os';

/** Vector instructions of x86 by their flags, the widest first. WASM SIMD is 128 bits wide on all of them. */
const VECTORS = {avx512f: 'AVX-512, 512 bits', avx2: 'AVX2, 256 bits', sse2: 'SSE, 128 bits'};

/** The name of the processor, and the width of its vectors, on which the ratio to native code depends. */
export function processor(): string {
  const name = cpus()[0]?.model.trim() ?? 'unknown processor';
  return `${name} (${arch() === 'arm64' ? 'NEON, 128 bits' : ofLinux()})`;
}

/** What Linux says of the first core: a name alone can stand for several generations. */
function ofLinux(): string {
  let text: string;
  try {
    [text = ''] = readFileSync('/proc/cpuinfo', 'utf8').split('\n\n');
  } catch {
    return 'vector width unknown';
  }
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(text)?.[1] ?? '';
  const flags = new Set(field('flags').split(' '));
  const widest = Object.entries(VECTORS).find(([flag]) => flags.has(flag))?.[1] ?? 'vector width unknown';
  return `family ${field('cpu family')}, model ${field('model')}; ${widest}`;
}
