import type {Backend} from './backend';
import type {CaseName} from './cases/index';
import type {CaseResult} from './library';
import {ratioOf, type Summary} from './measure';

/** A figure to reach. */
export interface Reach {
  figure: string;
  bar: string;
  measured: string;
  /** `null` where it could not be measured. */
  ok: boolean | null;
}

/** How far from 1 a ratio of two equal things may be measured. */
const NOISE = 0.05;

/** The bars of a backend, as far as their cases were measured. */
export function reach(results: readonly CaseResult[], backend: Backend): Reach[] {
  return backend === 'tensorflow' ? reachOfTensorFlow(results) : reachOfWasm(results);
}

function reachOfWasm(results: readonly CaseResult[]): Reach[] {
  return [
    ratio(results, 'mlp', 'MLP: stock full step / LoRA step', ['stock full', 'lora'], '≥', 10),
    toFloor(results, 'mlp', 'MLP: LoRA step / (forward + input-gradient products at the forward rate)', 'floor', 1.3),
    ratio(results, 'conv', 'conv net: LoRA step / stock predict', ['lora', 'stock forward'], '≤', 0.85),
    ratio(results, 'mobilenet', 'MobileNetV2: LoRA step / stock predict', ['lora', 'stock forward'], '≤', 1.1),
    ratio(results, 'mlp', 'MLP: LoRA step / stock predict', ['lora', 'stock forward'], '≤', 1.75),
    ratio(results, 'superres', 'super-resolution: LoRA step / stock predict', ['lora', 'stock forward'], '≤', 1.65),
    ratio(results, 'transformer', 'transformer block: LoRA step / predict here', ['lora', 'forward'], '≤', 1.85),
    ratio(results, 'conv', 'conv net: LoRA step / PyTorch + PEFT, one thread each', ['lora', 'peft lora 1'], '≤', 1),
    ratio(results, 'mlp', 'MLP: LoRA step / PyTorch + PEFT, one thread each', ['lora', 'peft lora 1'], '≤', 1.4),
    ratio(results, 'mlp', 'MLP: predict with the library / without', ['forward', 'stock forward'], '≤', 0.9),
    ratio(results, 'conv', 'conv net: predict with the library / without', ['forward', 'stock forward'], '≤', 0.8),
    ratio(
      results,
      'mobilenet',
      'MobileNetV2: predict with the library / without',
      ['forward', 'stock forward'],
      '≤',
      0.55,
    ),
    ratio(results, 'superres', 'super-resolution: LoRA step / full step on our kernels', ['lora', 'full'], '≤', 0.85),
    memory(results),
    peakOfMobileNet(results),
    merged(results),
    ratio(results, 'mlp', 'inference, MLP: adapted / base', ['adapted forward', 'forward'], '≤', 1.1),
    buffers(results),
  ].flat();
}

/**
 * TensorFlow computes with all cores, and its rate in small operations is that of their launches, so that the floors
 * are others.
 */
function reachOfTensorFlow(results: readonly CaseResult[]): Reach[] {
  const least = 'MLP: LoRA step / (its seven frozen products + the optimizer)';
  return [
    ratio(results, 'mlp', least, ['lora', 'products + optimizer'], '≤', 1.5),
    ratio(results, 'conv', 'conv net: LoRA step / full step of stock tfjs-node', ['lora', 'stock full'], '≤', 1),
    memory(results),
    merged(results),
    ratio(results, 'mlp', 'inference, MLP: adapted / base', ['adapted forward', 'forward'], '≤', 1.1),
    buffers(results),
  ].flat();
}

function find(results: readonly CaseResult[], name: CaseName): CaseResult[] {
  return results.filter(result => result.name === name);
}

function ratio(
  results: readonly CaseResult[],
  name: CaseName,
  figure: string,
  [above, below]: [string, string],
  direction: '≥' | '≤',
  limit: number,
): Reach[] {
  return find(results, name).map(({outcomes}) => {
    const summary = ratioOf(outcomes, above, below);
    return {
      figure,
      bar: `${direction} ${limit}`,
      measured: spread(summary),
      ok: summary === undefined ? null : direction === '≥' ? summary.median >= limit : summary.median <= limit,
    };
  });
}

/**
 * A step against the least it could take, measured in the process with stock tfjs and in this one. Idle in between, the
 * other process can be the slower one, and the library's kernels may make this one the faster: the bar counts as
 * reached only against both.
 */
function toFloor(
  results: readonly CaseResult[],
  name: CaseName,
  figure: string,
  floor: 'forward' | 'floor',
  limit: number,
): Reach[] {
  return find(results, name).map(({outcomes}) => {
    const [stock, here] = [`stock ${floor}`, floor].map(to => ratioOf(outcomes, 'lora', to));
    return {
      figure,
      bar: `≤ ${limit}`,
      measured: `${spread(stock)}; in this process ${spread(here)}`,
      ok: stock === undefined || here === undefined ? null : Math.max(stock.median, here.median) <= limit,
    };
  });
}

function merged(results: readonly CaseResult[]): Reach[] {
  return find(results, 'mlp').map(({outcomes}) => {
    const summary = ratioOf(outcomes, 'merged forward', 'forward');
    return {
      figure: 'inference, MLP: merged / base',
      bar: `1.00 ± ${NOISE}, or 1 within the spread`,
      measured: spread(summary),
      ok:
        summary === undefined ? null : Math.abs(summary.median - 1) <= NOISE || (summary.low <= 1 && summary.high >= 1),
    };
  });
}

function memory(results: readonly CaseResult[]): Reach[] {
  return find(results, 'mlp').map(({footprints}) => {
    const peak = (name: string) => {
      const result = footprints.find(candidate => candidate.name === name)?.result;
      return result !== undefined && 'profiledBytes' in result ? result : undefined;
    };
    const [lora, full] = [peak('lora'), peak('full')];
    if (lora === undefined || full === undefined) {
      return {figure: MEMORY, bar: '≤ 0.45', measured: '–', ok: null};
    }
    const profiled = lora.profiledBytes / full.profiledBytes;
    const buffers = lora.bufferBytes / full.bufferBytes;
    return {
      figure: MEMORY,
      bar: '≤ 0.45',
      measured: `${profiled.toFixed(2)} (distinct buffers: ${buffers.toFixed(2)})`,
      ok: profiled <= 0.45,
    };
  });
}

function peakOfMobileNet(results: readonly CaseResult[]): Reach[] {
  return find(results, 'mobilenet').map(({footprints}) => {
    const [lora, full] = ['lora', 'full'].map(name => {
      const result = footprints.find(candidate => candidate.name === name)?.result;
      return result !== undefined && 'bufferBytes' in result ? result.bufferBytes : undefined;
    });
    const ratio = lora === undefined || full === undefined ? undefined : lora / full;
    return {
      figure: 'peak of distinct buffers in a step, MobileNetV2: LoRA / full',
      bar: '≤ 0.25',
      measured: ratio?.toFixed(2) ?? '–',
      ok: ratio === undefined ? null : ratio <= 0.25,
    };
  });
}

const MEMORY = 'peak memory in a step, MLP, Adam: LoRA / full';

function buffers(results: readonly CaseResult[]): Reach[] {
  return find(results, 'mobilenet').map(({applying}) => ({
    figure: 'applyLoRA on MobileNetV2: new data buffers',
    bar: `the ${applying.factors} factors only`,
    measured: `${applying.newBuffers}, ${applying.newBytes} bytes (factors: ${applying.factorBytes})`,
    ok: applying.newBuffers === applying.factors && applying.newBytes === applying.factorBytes,
  }));
}

/** A median and where the middle half of the values lies. */
export function spread(summary: Summary | undefined): string {
  return summary === undefined
    ? '–'
    : `${summary.median.toFixed(2)} (${summary.low.toFixed(2)}–${summary.high.toFixed(2)})`;
}
