import {faultOfAdjoint} from './adjoint';
import {dtypeOf, type KernelCase} from './case';
import {isDamage, type Outcome, type Result, type Results} from './outcome';

/** What an outcome is compared with. */
export interface Expected {
  /** What stock tfjs computes on the backend, if it does not damage its memory. */
  stock: Outcome | undefined;
  /** What stock tfjs computes on cpu. */
  cpu: Outcome;
  /** What the library computes on cpu. */
  ofLibrary: Outcome;
}

/** What a number may be off by, in parts of the largest. */
const TOLERANCE = 2e-5;

/** What is wrong with what the library computes on cpu or on a backend, or `undefined`. */
export function faultOf(tried: KernelCase, actual: Outcome, expected: Expected): string | undefined {
  const {cpu, ofLibrary} = expected;
  const onCpu = tried.isCorrected ? undefined : differenceFrom(cpu.results, ofLibrary.results, 0);
  return onCpu === undefined
    ? (faultOnBackend(tried, actual, expected) ?? faultOfAdjoint(tried, actual))
    : `${tried.what} on cpu: ${onCpu}`;
}

function faultOnBackend(tried: KernelCase, actual: Outcome, {stock, cpu, ofLibrary}: Expected): string | undefined {
  const shapes = tried.operands.map(operand => `${dtypeOf(operand)}[${String(operand.shape)}]`);
  const fault =
    faultOfResults(tried, actual.results, stock?.results, (tried.isCorrected ? ofLibrary : cpu).results) ??
    faultOfGradients(tried, actual.gradients, [stock?.gradients, cpu.gradients, ofLibrary.gradients]);
  return fault === undefined ? undefined : `${tried.what}, ${shapes.join(', ')}: ${fault}`;
}

/** How tfjs refuses lengths below 0. Some of its operations return tensors of such shapes. */
const NO_SHAPE = 'shape comprised of positive integers';

/**
 * Whether stock tfjs refuses too, or has a shape with lengths below 0, which the library refuses as tfjs does. Stock
 * tfjs may lack a kernel that only odd arguments need.
 */
function isRefusedToo({isOdd}: KernelCase, actual: string, stock: Results | undefined, cpu: Results): boolean {
  const isNothing = (results: Results) =>
    typeof results === 'string' ||
    (actual.includes(NO_SHAPE) && results.some(({shape}) => shape.some(length => length < 0)));
  return isNothing(cpu) || (isOdd === true && stock !== undefined && isNothing(stock));
}

/**
 * An outcome of a graphics card with the numbers of cpu where the card may have others: where several updates are
 * written, and NaN of products on webgpu if an operand is not finite.
 */
export function asOnCpu({isProduct}: KernelCase, backend: string, outcome: Outcome, cpu: Outcome): Outcome {
  const {results} = outcome;
  const {results: expected, timesWritten = [], values: operands} = cpu;
  if (typeof results === 'string' || typeof expected === 'string' || typeof timesWritten === 'string') {
    return outcome;
  }
  const mayBeNaN =
    isProduct &&
    backend === 'webgpu' &&
    !operands.every(numbers => Array.from<unknown>(numbers).every(Number.isFinite));
  const settled = results.map((result, i): Result => {
    const [values = [], times = []] = [expected[i]?.values, timesWritten[i]?.values];
    const numbers = Array.from<number | string>(result.values).map((value, j) =>
      Number(times[j]) > 1 || (mayBeNaN && Number.isNaN(value)) ? values[j] : value,
    );
    return {...result, values: numbers as number[]};
  });
  return {...outcome, results: settled};
}

/** Results are those of the stock backend or of cpu, bit by bit; where the stock backend is wrong, about those of cpu. */
function faultOfResults(tried: KernelCase, actual: Results, stock: Results | undefined, cpu: Results) {
  if (typeof actual === 'string') {
    return isRefusedToo(tried, actual, stock, cpu) && !isDamage(actual) ? undefined : `is refused: ${actual}`;
  }
  // A sum in another order is not that of the stock backend to the bit, also where both are wrong.
  const ofStock = differenceFrom(stock, actual, tried.isReordered ? TOLERANCE : 0);
  const right = withDtypesOf(stock, cpu);
  if (ofStock === undefined || differenceFrom(cpu, actual, 0) === undefined) {
    return undefined;
  }
  const isStockRight = differenceFrom(stock, right, TOLERANCE) === undefined;
  if (isStockRight && !(tried.isCorrected ?? tried.isReordered ?? false)) {
    return ofStock;
  }
  const ofCpu = differenceFrom(right, actual, TOLERANCE);
  return ofCpu === undefined ? undefined : `stock: ${ofStock}; cpu: ${ofCpu}`;
}

/** What cpu computes, of the dtypes that the stock backend has: on cpu, maxima of whole volumes are floats. */
function withDtypesOf(stock: Results | undefined, cpu: Results): Results {
  return stock === undefined || typeof stock === 'string' || typeof cpu === 'string'
    ? cpu
    : cpu.map((result, i) => ({...result, dtype: stock[i]?.dtype ?? result.dtype}));
}

/** Gradients may be summed in another order, and tfjs has not all of them. */
function faultOfGradients(tried: KernelCase, actual: Results, expected: readonly (Results | undefined)[]) {
  if (typeof actual === 'string') {
    const [stock, cpu] = expected;
    return isRefusedToo(tried, actual, stock, cpu!) && !isDamage(actual)
      ? undefined
      : `the gradient is refused: ${actual}`;
  }
  const faults = expected.map(results => differenceFrom(results, actual, TOLERANCE));
  return faults.includes(undefined) ? undefined : `the gradient: ${faults.join('; ')}`;
}

/** How results differ from those that are expected; `tolerance` is in parts of the largest number. */
function differenceFrom(expected: Results | undefined, actual: Results, tolerance: number): string | undefined {
  if (expected === undefined) {
    return 'damage there';
  }
  if (typeof expected === 'string' || typeof actual === 'string') {
    return typeof expected === typeof actual ? undefined : 'it is refused on one side';
  }
  if (actual.length !== expected.length) {
    return `${actual.length} results, not ${expected.length}`;
  }
  for (const [i, result] of expected.entries()) {
    const fault = differenceOfTensors(actual[i]!, result, tolerance);
    if (fault !== undefined) {
      return fault;
    }
  }
  return undefined;
}

function differenceOfTensors(actual: Result, expected: Result, tolerance: number): string | undefined {
  if (String(actual.shape) !== String(expected.shape) || actual.dtype !== expected.dtype) {
    return `${actual.dtype}[${String(actual.shape)}], not ${expected.dtype}[${String(expected.shape)}]`;
  }
  if (actual.values.length !== expected.values.length) {
    return `${actual.values.length} values, not ${expected.values.length}`;
  }
  const finite = Array.from<number | string>(expected.values).map(value => Math.abs(Number(value)));
  const most =
    tolerance * finite.reduce((largest, value) => (value < Infinity ? Math.max(largest, value) : largest), 1);
  for (let i = 0; i < expected.values.length; i++) {
    const [value, other] = [actual.values[i]!, expected.values[i]!];
    const isSame = value === other || Object.is(value, other) || Math.abs(Number(value) - Number(other)) <= most;
    if (!isSame) {
      return `number ${i} is ${value}, not ${other}`;
    }
  }
  return undefined;
}
