import type {Rule} from './activations';
import {channelsLast, range} from './lowering';
import {attribute, type Entry, type OnnxCall} from './onnxCall';

/** How an axis is resized. */
interface Resized {
  /** The size that it gets. */
  size: Entry;
  /** By how much it grows, where that is known. */
  scale: number | undefined;
}

export const resize: Rule = async call => {
  const rank = call.rank();
  const isUpsample = call.op === 'Upsample';
  const isOld = isUpsample || call.version < 11;
  const axes = call.ints('axes')?.map(axis => call.axis(axis)) ?? range(rank);
  const scales = isUpsample && call.version < 9 ? call.attribute('scales')?.floats : call.numbers(isOld ? 1 : 2);
  const hasSizes = !isOld && call.has(3);
  const sizes = hasSizes ? call.entries(3) : undefined;
  if (sizes === undefined && scales?.length !== axes.length) {
    call.refuse('needs constant scales');
  }
  if (
    call.int('antialias', 0) === 1 ||
    call.int('exclude_outside', 0) === 1 ||
    call.text('keep_aspect_ratio_policy', 'stretch') !== 'stretch'
  ) {
    call.refuse('has antialias, exclude_outside or keep_aspect_ratio_policy');
  }
  const resized = new Map<number, Resized>();
  for (const [i, axis] of axes.entries()) {
    const own = call.size(0, axis);
    const size = sizes?.[i];
    const scale =
      sizes === undefined ? (scales?.[i] ?? 1) : typeof size === 'number' && own !== undefined ? size / own : undefined;
    const isSame = scale === 1 || (axis < 2 && (typeof size === 'object' || call.isOwnBatch(axis, size)));
    if (!isSame) {
      resized.set(axis, {size: size ?? (await scaledSize(call, axis, scale ?? 1)), scale});
    }
  }
  const mode = call.text('mode', 'nearest').replace('bilinear', 'linear');
  const transform = isOld ? 'asymmetric' : call.text('coordinate_transformation_mode', 'half_pixel');
  const rounding = isOld ? 'floor' : call.text('nearest_mode', 'round_prefer_floor');
  if (resized.size === 0) {
    call.give(call.key(0), call.perm());
    return;
  }
  const isImage = rank === 4 && !resized.has(0) && !resized.has(1);
  if (isImage && (await resizeImage(call, resized, {mode, transform, rounding}))) {
    return;
  }
  await resizeByMatrices(call, resized, {mode, transform, rounding});
};

async function scaledSize(call: OnnxCall, axis: number, scale: number): Promise<Entry> {
  const own = await call.entry(0, axis);
  if (typeof own === 'number') {
    return Math.floor(own * scale);
  }
  if (!Number.isInteger(scale)) {
    call.refuse(`scales a dynamic size by ${scale}`);
  }
  return {of: await call.emit('Mul', [await call.vector([own]), call.constant([scale])]), at: 0};
}

interface Mode {
  mode: string;
  transform: string;
  rounding: string;
}

/** Resizes rows and columns by an operation of tfjs, if one computes the same. */
async function resizeImage(
  call: OnnxCall,
  resized: ReadonlyMap<number, Resized>,
  {mode, transform, rounding}: Mode,
): Promise<boolean> {
  const scales = [2, 3].map(axis => (resized.has(axis) ? resized.get(axis)?.scale : 1));
  const isWhole = scales.every(scale => scale !== undefined && Number.isInteger(scale));
  const perm = channelsLast(4);
  const isFloor = transform === 'asymmetric' && rounding === 'floor';
  const isHalf = transform.endsWith('half_pixel') && rounding.startsWith('round');
  if (mode === 'nearest' && isWhole && (isFloor || isHalf)) {
    call.floats();
    const config = {size: scales as number[], interpolation: 'nearest'};
    call.give(call.layer('UpSampling2D', config, [await call.as(0, perm)]), perm);
    return true;
  }
  const flags: Readonly<Record<string, Record<string, ReturnType<typeof attribute.flag>>>> = {
    half_pixel: {half_pixel_centers: attribute.flag(true), align_corners: attribute.flag(false)},
    align_corners: {half_pixel_centers: attribute.flag(false), align_corners: attribute.flag(true)},
    asymmetric: {half_pixel_centers: attribute.flag(false), align_corners: attribute.flag(false)},
  };
  const attr = flags[transform.replace('pytorch_', '')];
  // tfjs divides the sizes, where ONNX takes the scale that the file has.
  const isExact = [2, 3].every(axis => {
    const {size, scale} = resized.get(axis) ?? {size: 1, scale: 1};
    const own = call.size(0, axis);
    return (
      scale === undefined ||
      Number.isInteger(scale) ||
      typeof size !== 'number' ||
      own === undefined ||
      own * scale === size
    );
  });
  const isLarge = transform !== 'pytorch_half_pixel' || [2, 3].every(axis => resized.get(axis)?.size !== 1);
  const op =
    mode === 'linear' && isLarge
      ? 'ResizeBilinear'
      : mode === 'nearest' && isFloor
        ? 'ResizeNearestNeighbor'
        : undefined;
  if (op === undefined || attr === undefined || !isExact) {
    return false;
  }
  const sizes: Entry[] = [];
  for (const axis of [2, 3]) {
    sizes.push(resized.get(axis)?.size ?? (await call.entry(0, axis)));
  }
  call.give(await call.emit(op, [await call.as(0, perm), await call.vector(sizes)], attr), perm);
  return true;
}

/** Each axis is multiplied with a matrix whose rows have the weights of the old values in a new one. */
async function resizeByMatrices(call: OnnxCall, resized: ReadonlyMap<number, Resized>, how: Mode): Promise<void> {
  let [key, perm] = [call.key(0), [...call.perm()]];
  for (const [axis, {size, scale}] of resized) {
    const own = call.size(0, axis);
    if (own === undefined || typeof size !== 'number' || scale === undefined || axis === 0) {
      call.refuse(`resizes ${axis === 0 ? 'the batch' : 'a dynamic size'} by ${how.mode} ${how.transform}`);
    }
    // The axis is held as the last but one, where a product with a matrix before it sums over it.
    const others = perm.filter(each => each !== axis);
    const order = [...others.slice(0, -1), axis, others.at(-1) ?? 0];
    const at = order.map(each => perm.indexOf(each));
    const held = at.every((place, i) => place === i) ? key : await call.emit('Transpose', [key, call.constant(at)]);
    const matrix = matrixOf(call, own, size, scale, how);
    [key, perm] = [await call.emit('BatchMatMulV2', [call.constant(matrix, [size, own], 'float32'), held]), order];
  }
  call.give(key, perm);
}

function matrixOf(
  call: OnnxCall,
  own: number,
  size: number,
  scale: number,
  {mode, transform, rounding}: Mode,
): number[] {
  call.planner.reserve(own * size);
  const matrix = new Array<number>(own * size).fill(0);
  const add = (row: number, at: number, value: number) => {
    const index = row * own + Math.min(Math.max(at, 0), own - 1);
    matrix[index] = (matrix[index] ?? 0) + value;
  };
  const cubic = call.float('cubic_coeff_a', -0.75);
  for (const row of range(size)) {
    const x = originalPlace(call, row, {own, size, scale, transform});
    const base = Math.floor(x);
    const part = x - base;
    if (mode === 'nearest') {
      const half = rounding === 'round_prefer_floor' ? Math.ceil(x - 0.5) : Math.floor(x + 0.5);
      add(row, rounding === 'floor' ? base : rounding === 'ceil' ? Math.ceil(x) : half, 1);
    } else if (mode === 'linear') {
      const inside = Math.min(Math.max(x, 0), own - 1);
      add(row, Math.floor(inside), 1 - (inside - Math.floor(inside)));
      add(row, Math.floor(inside) + 1, inside - Math.floor(inside));
    } else if (mode === 'cubic') {
      range(4).forEach(i => add(row, base + i - 1, cubicWeight(Math.abs(part - (i - 1)), cubic)));
    } else {
      call.refuse(`has the mode ${mode}`);
    }
  }
  return matrix;
}

/** The position of a value in the original. */
function originalPlace(
  call: OnnxCall,
  row: number,
  {own, size, scale, transform}: {own: number; size: number; scale: number; transform: string},
): number {
  switch (transform) {
    case 'half_pixel':
      return (row + 0.5) / scale - 0.5;
    case 'pytorch_half_pixel':
      return size > 1 ? (row + 0.5) / scale - 0.5 : 0;
    case 'align_corners':
      return size > 1 ? (row * (own - 1)) / (size - 1) : 0;
    case 'asymmetric':
      return row / scale;
    default:
      return call.refuse(`has the coordinates of ${transform}`);
  }
}

function cubicWeight(distance: number, a: number): number {
  if (distance <= 1) {
    return (a + 2) * distance ** 3 - (a + 3) * distance ** 2 + 1;
  }
  return distance < 2 ? a * distance ** 3 - 5 * a * distance ** 2 + 8 * a * distance - 4 * a : 0;
}
