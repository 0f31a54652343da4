import type {Rule} from './activations';
import {channelsLast, range} from './lowering';
import {attribute, type ShapeEntry, type OnnxCall} from './onnxCall';

/** The resizing of one axis. */
interface ResizedAxis {
  /** The output size. */
  size: ShapeEntry;
  /** The scale; `undefined` if it depends on a dynamic size. */
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
    call.refuse('The node needs constant scales.');
  }
  if (
    call.int('antialias', 0) === 1 ||
    call.int('exclude_outside', 0) === 1 ||
    call.text('keep_aspect_ratio_policy', 'stretch') !== 'stretch'
  ) {
    call.refuse('The node has antialias, exclude_outside or keep_aspect_ratio_policy.');
  }
  const resized = new Map<number, ResizedAxis>();
  for (const [i, axis] of axes.entries()) {
    const inputSize = call.size(0, axis);
    const size = sizes?.[i];
    const scale =
      sizes === undefined
        ? (scales?.[i] ?? 1)
        : typeof size === 'number' && inputSize !== undefined
          ? size / inputSize
          : undefined;
    const isSame = scale === 1 || (axis < 2 && (typeof size === 'object' || call.isExportedBatch(axis, size)));
    if (!isSame) {
      resized.set(axis, {size: size ?? (await scaledSize(call, axis, scale ?? 1)), scale});
    }
  }
  const mode = call.text('mode', 'nearest').replace('bilinear', 'linear');
  const transform = isOld ? 'asymmetric' : call.text('coordinate_transformation_mode', 'half_pixel');
  const rounding = isOld ? 'floor' : call.text('nearest_mode', 'round_prefer_floor');
  if (resized.size === 0) {
    call.setOutput(call.key(0), call.perm());
    return;
  }
  const isImage = rank === 4 && !resized.has(0) && !resized.has(1);
  if (isImage && (await resizeImage(call, resized, {mode, transform, rounding}))) {
    return;
  }
  await resizeByMatrices(call, resized, {mode, transform, rounding});
};

async function scaledSize(call: OnnxCall, axis: number, scale: number): Promise<ShapeEntry> {
  const inputSize = await call.sizeEntry(0, axis);
  if (typeof inputSize === 'number') {
    return Math.floor(inputSize * scale);
  }
  if (!Number.isInteger(scale)) {
    call.refuse(`The node scales a dynamic size by ${scale}.`);
  }
  return {of: await call.emit('Mul', [await call.vector([inputSize]), call.constant([scale])]), at: 0};
}

interface ResizeMode {
  mode: string;
  transform: string;
  rounding: string;
}

/** Resizes rows and columns with an operation of tfjs. Returns false if none computes the same values. */
async function resizeImage(
  call: OnnxCall,
  resized: ReadonlyMap<number, ResizedAxis>,
  {mode, transform, rounding}: ResizeMode,
): Promise<boolean> {
  const scales = [2, 3].map(axis => (resized.has(axis) ? resized.get(axis)?.scale : 1));
  const isWhole = scales.every(scale => scale !== undefined && Number.isInteger(scale));
  const perm = channelsLast(4);
  const isFloor = transform === 'asymmetric' && rounding === 'floor';
  const isHalf = transform.endsWith('half_pixel') && rounding.startsWith('round');
  if (mode === 'nearest' && isWhole && (isFloor || isHalf)) {
    call.floats();
    const config = {size: scales as number[], interpolation: 'nearest'};
    call.setOutput(call.layer('UpSampling2D', config, [await call.inputIn(0, perm)]), perm);
    return true;
  }
  const flags: Readonly<Record<string, Record<string, ReturnType<typeof attribute.flag>>>> = {
    half_pixel: {half_pixel_centers: attribute.flag(true), align_corners: attribute.flag(false)},
    align_corners: {half_pixel_centers: attribute.flag(false), align_corners: attribute.flag(true)},
    asymmetric: {half_pixel_centers: attribute.flag(false), align_corners: attribute.flag(false)},
  };
  const attr = flags[transform.replace('pytorch_', '')];
  // tfjs divides the sizes to get the scale. ONNX uses the scale of the file.
  const isExact = [2, 3].every(axis => {
    const {size, scale} = resized.get(axis) ?? {size: 1, scale: 1};
    const inputSize = call.size(0, axis);
    return (
      scale === undefined ||
      Number.isInteger(scale) ||
      typeof size !== 'number' ||
      inputSize === undefined ||
      inputSize * scale === size
    );
  });
  const matchesHalfPixel = transform !== 'pytorch_half_pixel' || [2, 3].every(axis => resized.get(axis)?.size !== 1);
  const op =
    mode === 'linear' && matchesHalfPixel
      ? 'ResizeBilinear'
      : mode === 'nearest' && isFloor
        ? 'ResizeNearestNeighbor'
        : undefined;
  if (op === undefined || attr === undefined || !isExact) {
    return false;
  }
  const sizes: ShapeEntry[] = [];
  for (const axis of [2, 3]) {
    sizes.push(resized.get(axis)?.size ?? (await call.sizeEntry(0, axis)));
  }
  call.setOutput(await call.emit(op, [await call.inputIn(0, perm), await call.vector(sizes)], attr), perm);
  return true;
}

/** Resizes each axis by a product with a matrix. A row has the weights of the input values for one output value. */
async function resizeByMatrices(
  call: OnnxCall,
  resized: ReadonlyMap<number, ResizedAxis>,
  how: ResizeMode,
): Promise<void> {
  let [key, perm] = [call.key(0), [...call.perm()]];
  for (const [axis, {size, scale}] of resized) {
    const inputSize = call.size(0, axis);
    if (inputSize === undefined || typeof size !== 'number' || scale === undefined || axis === 0) {
      call.refuse(`The node resizes ${axis === 0 ? 'the batch' : 'a dynamic size'} by ${how.mode} ${how.transform}.`);
    }
    // The axis is moved to the last but one position, over which a matrix product sums.
    const otherAxes = perm.filter(other => other !== axis);
    const order = [...otherAxes.slice(0, -1), axis, otherAxes.at(-1) ?? 0];
    const at = order.map(place => perm.indexOf(place));
    const axisBeforeLast = at.every((place, i) => place === i)
      ? key
      : await call.emit('Transpose', [key, call.constant(at)]);
    const matrix = matrixOf(call, inputSize, size, scale, how);
    [key, perm] = [
      await call.emit('BatchMatMulV2', [call.constant(matrix, [size, inputSize], 'float32'), axisBeforeLast]),
      order,
    ];
  }
  call.setOutput(key, perm);
}

function matrixOf(
  call: OnnxCall,
  inputSize: number,
  size: number,
  scale: number,
  {mode, transform, rounding}: ResizeMode,
): number[] {
  call.planner.reserve(inputSize * size);
  const matrix = new Array<number>(inputSize * size).fill(0);
  const add = (row: number, at: number, value: number) => {
    const index = row * inputSize + Math.min(Math.max(at, 0), inputSize - 1);
    matrix[index] = (matrix[index] ?? 0) + value;
  };
  const cubic = call.float('cubic_coeff_a', -0.75);
  for (const row of range(size)) {
    const x = inputPosition(call, row, {inputSize, size, scale, transform});
    const base = Math.floor(x);
    const fraction = x - base;
    if (mode === 'nearest') {
      const half = rounding === 'round_prefer_floor' ? Math.ceil(x - 0.5) : Math.floor(x + 0.5);
      add(row, rounding === 'floor' ? base : rounding === 'ceil' ? Math.ceil(x) : half, 1);
    } else if (mode === 'linear') {
      const inside = Math.min(Math.max(x, 0), inputSize - 1);
      add(row, Math.floor(inside), 1 - (inside - Math.floor(inside)));
      add(row, Math.floor(inside) + 1, inside - Math.floor(inside));
    } else if (mode === 'cubic') {
      range(4).forEach(i => add(row, base + i - 1, cubicWeight(Math.abs(fraction - (i - 1)), cubic)));
    } else {
      call.refuse(`The node has the mode ${mode}.`);
    }
  }
  return matrix;
}

/** The position of an output value on the axis of the input. */
function inputPosition(
  call: OnnxCall,
  row: number,
  {inputSize, size, scale, transform}: {inputSize: number; size: number; scale: number; transform: string},
): number {
  switch (transform) {
    case 'half_pixel':
      return (row + 0.5) / scale - 0.5;
    case 'pytorch_half_pixel':
      return size > 1 ? (row + 0.5) / scale - 0.5 : 0;
    case 'align_corners':
      return size > 1 ? (row * (inputSize - 1)) / (size - 1) : 0;
    case 'asymmetric':
      return row / scale;
    default:
      return call.refuse(`The node has the coordinates of ${transform}.`);
  }
}

function cubicWeight(distance: number, a: number): number {
  if (distance <= 1) {
    return (a + 2) * distance ** 3 - (a + 3) * distance ** 2 + 1;
  }
  return distance < 2 ? a * distance ** 3 - 5 * a * distance ** 2 + 8 * a * distance - 4 * a : 0;
}
