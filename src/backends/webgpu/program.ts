import * as tf from '@tensorflow/tfjs';
import {giveUp, runsOn} from '../shared/tryOut';

// Our programs on tfjs's webgpu backend, run by its public `runWebGPUProgram`. That declares every input read-only and
// has one result. Our programs have several results and a separate shader, which is passed in the field where the
// backend looks for a program's pipeline.

/** Invocations in a workgroup. */
export const GROUP = 64;

/** A program in WGSL. */
export interface Program {
  /** Programs of the same name have the same code. */
  readonly name: string;
  /** Names of the inputs, in the order of the tensors. */
  readonly reads: readonly string[];
  /** The inputs that the code converts to floats, so that they may be integers. */
  readonly converts?: readonly string[];
  /** Names of the results, at least one. */
  readonly writes: readonly string[];
  /** Names of its integers: `u.name` in the code. */
  readonly integers?: readonly string[];
  /** Names of its floats, which are passed after the integers. */
  readonly floats?: readonly string[];
  /** Declarations before the main function. */
  readonly head?: string;
  /** The code of each invocation, with `group` and `lane`; without `rows`, with `i`, an index in the first result. */
  readonly body: string;
}

/** The arguments of a program. */
export interface Call {
  readonly inputs: readonly tf.TensorInfo[];
  /** Shapes of the results, or tensors of the caller that the program overwrites. */
  readonly outputs: readonly (readonly number[] | tf.Tensor)[];
  readonly numbers: readonly number[];
  /** The number of rows, each of which has a workgroup. Default: an invocation for each value of the first result. */
  readonly rows?: number;
}

const programs = new Map<string, Program>();

/** The program of a name. Its code is written the first time it is asked for; later launches find it here. */
export function programOf(name: string, write: () => Omit<Program, 'name'>): Program {
  const program = programs.get(name) ?? {name, ...write()};
  programs.set(name, program);
  return program;
}

/** Code that limits `s` as `min(max(s, 0), cap)`; NaN stays NaN. */
export function limited(cap: number | undefined): string {
  const above = cap === undefined || cap === Infinity ? '' : ` s = select(s, f32(${cap}), s > f32(${cap}));`;
  return cap === undefined ? '' : `s = select(s, 0.0, s < 0.0);${above}`;
}

/** Code that multiplies the gradient `d` of a limited value `y` with the slope. */
export function slope(cap: number | undefined, d: string, y: string): string {
  const below = cap === undefined || cap === Infinity ? '' : ` * sign(f32(${cap}) - ${y})`;
  return cap === undefined ? '' : `${d} *= sign(${y})${below};`;
}

/** Parts of the WebGPU API, whose types are not in the DOM library. */
interface Device {
  readonly limits: {readonly maxStorageBufferBindingSize: number};
  pushErrorScope(kind: 'validation'): void;
  popErrorScope(): Promise<{message: string} | null>;
  createShaderModule(descriptor: {code: string; label: string}): object;
  createComputePipeline(descriptor: {compute: {module: object}; label: string; layout: 'auto'}): object;
}

/** The parts of tfjs's webgpu backend that this library uses. */
interface Backend {
  readonly device: Device;
  makeTensorInfo(shape: readonly number[], dtype: tf.DataType, values?: tf.backend_util.TypedArray): tf.TensorInfo;
  disposeData(dataId: tf.DataId): boolean;
  runWebGPUProgram(
    program: object,
    inputs: tf.TensorInfo[],
    dtype: tf.DataType,
    numbers: {type: string; data: number[]}[],
    output: tf.TensorInfo,
  ): tf.TensorInfo;
  read(dataId: tf.DataId): Promise<ArrayLike<number>>;
  // Private in tfjs: how it copies buffers.
  readonly tensorMap: {get(dataId: tf.DataId): {readonly resource: object; readonly dtype: tf.DataType}};
  /** Tensors whose buffers the commands that are not submitted yet use. */
  readonly commandQueueOwnedIds: {add(dataId: tf.DataId): void};
  readonly commandEncoder: {
    copyBufferToBuffer(from: object, fromByte: number, to: object, toByte: number, bytes: number): void;
  };
  uploadToGPU(dataId: tf.DataId): void;
  ensureCommandEncoderReady(): void;
  endComputePassEncoder(): void;
}

/** The compiled programs of each backend. */
const compiled = new WeakMap<Backend, Map<string, object>>();

/** Whether our programs run on the current backend. */
export function runsPrograms(): boolean {
  const backend = current();
  return backend !== undefined && runsOn(backend);
}

/** The current backend, if it is webgpu and has started. */
function current(): Backend | undefined {
  return tf.getBackend() === 'webgpu' ? (tf.engine().registry.webgpu as unknown as Backend | undefined) : undefined;
}

/** Runs a program on the current backend, which must run programs. The caller owns the results. */
export function runProgram(program: Program, call: Call): tf.Tensor[] {
  return launch(current() as Backend, program, call)
    .filter(result => !(result instanceof tf.Tensor))
    .map(info => tf.engine().makeTensorFromTensorInfo(info));
}

/** The most bytes of a tensor that programs may read; tests lower it. */
export const BINDING = {most: Infinity};

/** The most bytes of a tensor that programs of the current backend can read. */
export function mostBytesOfBinding(): number {
  return Math.min(BINDING.most, (current() as Backend).device.limits.maxStorageBufferBindingSize);
}

/** Integers as data on the current backend, which the caller frees. They are no tensor of tfjs's engine. */
export function integersOnCard(values: Int32Array): tf.TensorInfo {
  return (current() as Backend).makeTensorInfo([values.length], 'int32', values);
}

const CAST: Program = {name: 'cast', reads: ['x'], converts: ['x'], writes: ['y'], body: 'y[i] = f32(x[i]);'};

/** The floats of a tensor that tfjs has cast only by name: on the card its values are still integers. */
function castOn(backend: Backend, input: tf.TensorInfo): tf.TensorInfo {
  const [y] = launch(backend, CAST, {inputs: [input], outputs: [input.shape], numbers: []});
  return y as tf.TensorInfo;
}

function launch(backend: Backend, program: Program, {inputs, outputs, numbers, rows}: Call): tf.TensorInfo[] {
  const results = outputs.map(output => {
    // An empty tensor is never uploaded, so its values are set here.
    const values = output instanceof tf.Tensor || !output.includes(0) ? undefined : new Float32Array();
    return output instanceof tf.Tensor ? output : backend.makeTensorInfo(output, 'float32', values);
  });
  const flat = ({dataId, dtype, shape}: tf.TensorInfo) => ({dataId, dtype, shape: [tf.util.sizeFromShape(shape)]});
  const [first, ...laterResults] = results.map(flat) as [tf.TensorInfo, ...tf.TensorInfo[]];
  const size = first.shape[0] as number;
  const groups = rows ?? Math.ceil(size / GROUP);
  if (groups === 0 || size === 0) {
    return results;
  }
  const typeOf = ({dataId}: tf.TensorInfo) => (backend.tensorMap.get(dataId).dtype === 'float32' ? 'f32' : 'i32');
  const {converts = [], reads} = program;
  const isCast = inputs.map(
    (input, i) => input.dtype === 'float32' && typeOf(input) === 'i32' && !converts.includes(reads[i] as string),
  );
  const read = inputs.map((input, i) => (isCast[i] ? castOn(backend, input) : input));
  const bound = [...laterResults, ...read.map(flat)];
  const pipelines = compiled.get(backend) ?? new Map<string, object>();
  compiled.set(backend, pipelines);
  const types = read.map(typeOf);
  const key = [program.name, ...types].join();
  const pipeline = pipelines.get(key) ?? compile(backend, program, types, rows !== undefined);
  pipelines.set(key, pipeline);
  const ofTfjs = {
    variableNames: bound.map((_, i) => `x${i}`),
    outputShape: [groups],
    workgroupSize: [GROUP, 1, 1],
    dispatchLayout: {x: [0]},
    dispatch: [groups, 1, 1],
    shaderKey: 'tfjs-lora',
    getUserCode: () => 'fn main(index: i32) {}', // the shader that tfjs compiles is not the one that runs
    get pipeline() {
      return pipeline;
    },
    set pipeline(_: object) {
      // tfjs puts its own here
    },
  };
  const integerCount = 2 + (program.integers ?? []).length;
  const uniforms = [size, groups, ...numbers].map((value, i) => ({
    type: i < integerCount ? 'int32' : 'float32',
    data: [value],
  }));
  backend.runWebGPUProgram(ofTfjs, bound, 'float32', uniforms, first);
  read.filter((_, i) => isCast[i]).forEach(({dataId}) => backend.disposeData(dataId));
  return results;
}

/** The values of floats, one tensor after the other, in a flat one of the caller's. It takes no launch. */
export function joinBuffers(tensors: readonly tf.Tensor[]): tf.Tensor {
  return tf.engine().makeTensorFromTensorInfo(join(current() as Backend, tensors));
}

function join(backend: Backend, parts: readonly tf.TensorInfo[]): tf.TensorInfo {
  const size = parts.reduce((sum, {shape}) => sum + tf.util.sizeFromShape(shape), 0);
  const flat = backend.makeTensorInfo([size], 'float32');
  copyBuffers(backend, flat, parts, (flatBuffer, partBuffer, byte, bytes) => {
    backend.commandEncoder.copyBufferToBuffer(partBuffer, 0, flatBuffer, byte, bytes);
  });
  return flat;
}

/** The inverse of `joinBuffers`: tensors of these shapes, which the caller owns. */
export function splitBuffer(flat: tf.Tensor, shapes: readonly (readonly number[])[]): tf.Tensor[] {
  return split(current() as Backend, flat, shapes).map(info => tf.engine().makeTensorFromTensorInfo(info));
}

function split(backend: Backend, flat: tf.TensorInfo, shapes: readonly (readonly number[])[]): tf.TensorInfo[] {
  const parts = shapes.map(shape => backend.makeTensorInfo(shape, 'float32'));
  copyBuffers(backend, flat, parts, (flatBuffer, partBuffer, byte, bytes) => {
    backend.commandEncoder.copyBufferToBuffer(flatBuffer, byte, partBuffer, 0, bytes);
  });
  return parts;
}

/** Calls `copy` with the buffers of a flat tensor and of each of its parts, and the part's position in it. */
function copyBuffers(
  backend: Backend,
  flat: tf.TensorInfo,
  parts: readonly tf.TensorInfo[],
  copy: (flatBuffer: object, partBuffer: object, byte: number, bytes: number) => void,
): void {
  const bufferOf = ({dataId}: tf.TensorInfo) => {
    backend.uploadToGPU(dataId);
    backend.commandQueueOwnedIds.add(dataId);
    return backend.tensorMap.get(dataId).resource;
  };
  const flatBuffer = bufferOf(flat);
  let byte = 0;
  for (const tensor of parts) {
    const buffer = bufferOf(tensor);
    const bytes = 4 * tf.util.sizeFromShape(tensor.shape);
    backend.ensureCommandEncoderReady();
    backend.endComputePassEncoder();
    copy(flatBuffer, buffer, byte, bytes);
    byte += bytes;
  }
}

function compile(backend: Backend, program: Program, types: readonly string[], byRow: boolean): object {
  const {name, reads, writes, integers = [], floats = [], head = '', body} = program;
  const [first, ...laterWrites] = writes;
  const bound = [...laterWrites, ...reads];
  const declared = bound.map((x, i) => {
    const access = i < laterWrites.length ? 'read_write' : 'read';
    const type = types[i - laterWrites.length] ?? 'f32';
    return `@group(0) @binding(${i + 1}) var<storage, ${access}> ${x}: array<${type}>;`;
  });
  // tfjs puts two constants first, and of each tensor, flat as they are given, its length and a stride.
  const before = Array.from({length: 2 * (bound.length + 1)}, (_, i) => `n${i}: i32,`);
  const uniformFields = [...integers.map(x => `${x}: i32,`), ...floats.map(x => `${x}: f32,`)];
  const code = `struct U {
  nan: f32, infinity: f32, ${before.join(' ')} size: i32, groups: i32, ${uniformFields.join(' ')}
}
@group(0) @binding(0) var<storage, read_write> ${first}: array<f32>;
${declared.join('\n')}
@group(0) @binding(${bound.length + 1}) var<uniform> u: U;
${head}
@compute @workgroup_size(${GROUP}) fn main(
  @builtin(workgroup_id) at: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) number: u32,
) {
  let group = i32((at.z * count.y + at.y) * count.x + at.x);
  let lane = i32(number);
${byRow ? `if (group >= u.groups) { return; } ${body}` : `let i = group * ${GROUP} + lane; if (i < u.size) { ${body} }`}
}`;
  const {device} = backend;
  device.pushErrorScope('validation');
  const module = device.createShaderModule({code, label: name});
  const pipeline = device.createComputePipeline({compute: {module}, label: name, layout: 'auto'});
  void device.popErrorScope().then(error => {
    if (error !== null) {
      giveUp(backend, error.message);
    }
  });
  return pipeline;
}

const TRIAL: Program = {
  name: 'trial',
  reads: ['a', 'b'],
  writes: ['sum', 'product'],
  integers: ['times'],
  floats: ['share'],
  body: 'sum[i] = a[i] + f32(b[i]); product[i] = a[i] * u.share * f32(b[i] * u.times);',
};

/** Whether a program with two results, floats and integers works correctly on a backend. */
export async function areBuffersRight(backend: Backend): Promise<boolean> {
  const values = Array.from({length: GROUP + 3}, (_, i) => i);
  const shape = [values.length];
  const inputs = [
    backend.makeTensorInfo(shape, 'float32', Float32Array.from(values)),
    backend.makeTensorInfo(shape, 'int32', Int32Array.from(values)),
  ];
  const results = launch(backend, TRIAL, {inputs, outputs: [shape, shape], numbers: [3, 0.5]});
  const joined = join(backend, results);
  const parts = split(backend, joined, [shape, shape]);
  const [sums, products] = await Promise.all(parts.map(({dataId}) => backend.read(dataId)));
  [...inputs, ...results, joined, ...parts].forEach(({dataId}) => backend.disposeData(dataId));
  return values.every(i => sums?.[i] === 2 * i && products?.[i] === 1.5 * i * i);
}
