import {load4, store4, zeros} from '../../../../../backends/wasm/assembly/lanes';
import {exp4, total} from './exp';

// The cross-entropy of rows of logits and class indices. Rows with the index `ignored` do not count.

@inline
function largest(row: usize, classes: i32): f32 {
  let most = f32x4.splat(-Infinity);
  let j = 0;
  for (; j + 4 <= classes; j += 4) {
    most = f32x4.max(most, v128.load(row + ((<usize>j) << 2)));
  }
  let result = max(
    max(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)),
    max(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)),
  );
  for (; j < classes; j++) {
    result = max(result, load<f32>(row + ((<usize>j) << 2)));
  }
  return result;
}

/** Partial sums of this many terms: a single float sum loses precision for many classes. */
const BLOCK: i32 = 256;

/** The sum of `e^(z − most)` over a row; its terms are written to `out`, if given. */
@inline
function exponentials(row: usize, out: usize, classes: i32, most: f32): f64 {
  const shift = f32x4.splat(most);
  let denominator: f64 = 0;
  for (let j = 0; j < classes; ) {
    const end = min(classes, j + BLOCK);
    let sum = zeros();
    for (; j < end; j += 4) {
      const at: usize = (<usize>j) << 2;
      const valuesLeft = classes - j;
      let e = exp4(f32x4.sub(load4(row + at, valuesLeft), shift));
      if (valuesLeft < 4) e = v128.and(e, i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(valuesLeft)));
      sum = f32x4.add(sum, e);
      if (out) store4(out + at, e, valuesLeft);
    }
    denominator += <f64>total(sum);
  }
  return denominator;
}

function counted(targets: usize, rows: i32, ignored: i32): i32 {
  let count = 0;
  for (let i = 0; i < rows; i++) {
    if (load<i32>(targets + ((<usize>i) << 2)) != ignored) count++;
  }
  return count;
}

/** The mean over the rows that count, 0 if none does; NaN if the index of such a row is no class. */
export function crossEntropy(logits: usize, targets: usize, out: usize, rows: i32, classes: i32, ignored: i32): void {
  const stride: usize = (<usize>classes) << 2;
  let sum: f64 = 0;
  for (let i = 0; i < rows; i++) {
    const target = load<i32>(targets + ((<usize>i) << 2));
    if (target == ignored) continue;
    if (target < 0 || target >= classes) {
      sum = NaN;
      break;
    }
    const row = logits + (<usize>i) * stride;
    const most = largest(row, classes);
    const chosen = load<f32>(row + ((<usize>target) << 2));
    sum += <f64>(most - chosen) + Math.log(exponentials(row, 0, classes, most));
  }
  const count = counted(targets, rows, ignored);
  store<f32>(out, count ? <f32>(sum / <f64>count) : <f32>0);
}

/** The gradient in the logits, given the gradient of the mean at `dy`. */
export function crossEntropyGradient(
  logits: usize, targets: usize, dy: usize, out: usize, rows: i32, classes: i32, ignored: i32,
): void {
  const stride: usize = (<usize>classes) << 2;
  const count = counted(targets, rows, ignored);
  const share: f32 = count ? load<f32>(dy) / <f32>count : 0;
  for (let i = 0; i < rows; i++) {
    const target = load<i32>(targets + ((<usize>i) << 2));
    const row = logits + (<usize>i) * stride;
    const to = out + (<usize>i) * stride;
    if (target == ignored) {
      memory.fill(to, 0, stride);
      continue;
    }
    const factor = f32x4.splat(<f32>(<f64>share / exponentials(row, to, classes, largest(row, classes))));
    for (let j = 0; j < classes; j += 4) {
      const at: usize = (<usize>j) << 2;
      const p = f32x4.mul(load4(to + at, classes - j), factor);
      store4(to + at, p, classes - j);
    }
    if (target >= 0 && target < classes) {
      const at = to + ((<usize>target) << 2);
      store<f32>(at, load<f32>(at) - share);
    }
  }
}
