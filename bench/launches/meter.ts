import {BufferMeter, type Engine as Counting} from '../bufferMeter';

// Reads the engine in the page's globals, since a peer brings a tfjs of its own.

/** Parts of a step. */
export const PHASES = ['forward', 'backward', 'optimizer'] as const;
export type Phase = (typeof PHASES)[number];

/** What one step takes. */
export interface Launches {
  /** Programs that ran on the device, by part of the step and by the kernel that the backend was asked for. */
  phases: Record<Phase, Record<string, number>>;
  /** Peak bytes of distinct tensors. */
  peakBytes: number;
  /** Peak bytes of buffers on the device, those that wait to be used again among them. Only webgpu tells. */
  allocatedBytes: number | null;
  /** Median of some steps. */
  ms: number;
  loss: number;
}

interface Kernel {
  kernelName: string;
  backendName: string;
  kernelFunc: (params: unknown) => unknown;
}

interface Engine extends Counting {
  gradients: (f: () => unknown, ...rest: unknown[]) => unknown;
}

interface Class {
  readonly prototype: Record<string, (...args: unknown[]) => unknown>;
}

interface Globals {
  GPUDevice?: Class;
  GPUBuffer?: Class;
  GPUComputePassEncoder?: Class;
  WebGL2RenderingContext?: Class;
  _tfengine: Engine;
  _tfGlobals: Map<string, Map<string, Kernel>>;
}

const globals = globalThis as unknown as Globals;

/** Bytes of buffers on the device, counted from the start of the page. */
const device = {bytes: 0, peak: 0};
/** Called for each program that runs. */
let onLaunch: () => void = () => undefined;

/** Counts buffers and programs of the device from now on. Call it before a backend is loaded. */
export function watchDevice(): void {
  const {GPUDevice, GPUBuffer, GPUComputePassEncoder, WebGL2RenderingContext} = globals;
  before(GPUDevice, 'createBuffer', (_, {size}: {size: number}) => {
    device.bytes += size;
    device.peak = Math.max(device.peak, device.bytes);
  });
  before(GPUBuffer, 'destroy', buffer => (device.bytes -= buffer.size as number));
  before(GPUComputePassEncoder, 'dispatchWorkgroups', () => {
    onLaunch();
  });
  before(WebGL2RenderingContext, 'drawElements', () => {
    onLaunch();
  });
}

/** Calls `tell` before each call of a method. */
function before<Argument>(
  owner: Class | undefined,
  name: string,
  tell: (self: Record<string, unknown>, argument: Argument) => void,
): void {
  if (owner === undefined) {
    return;
  }
  const original = owner.prototype[name]!;
  owner.prototype[name] = function (this: Record<string, unknown>, ...args: unknown[]) {
    tell(this, args[0] as Argument);
    return original.apply(this, args);
  };
}

/** Counts what a step launches and holds, and clocks that step and as many after it as make up `steps`. */
export async function measure(step: () => Promise<number>, steps: number): Promise<Launches> {
  const engine = globals._tfengine;
  // Optimizers make their slots in the first step, and programs are compiled.
  await step();
  await step();
  const phases: Launches['phases'] = {forward: {}, backward: {}, optimizer: {}};
  let phase: Phase = 'forward';
  const {gradients} = engine;
  engine.gradients = (f, ...rest) => {
    phase = 'forward';
    const computed = () => {
      const y = f();
      phase = 'backward';
      return y;
    };
    const result = gradients.call(engine, computed, ...rest);
    phase = 'optimizer';
    return result;
  };
  const running: string[] = [];
  onLaunch = () => {
    const name = running.find(kernel => !kernel.startsWith('TfjsLoRA')) ?? running[0] ?? 'none';
    phases[phase][name] = (phases[phase][name] ?? 0) + 1;
  };
  const kernels = [...globals._tfGlobals.get('kernelRegistry')!.values()].map(
    config => [config, config.kernelFunc] as const,
  );
  for (const [config, original] of kernels) {
    config.kernelFunc = params => {
      running.push(config.kernelName);
      try {
        return original(params);
      } finally {
        running.pop();
      }
    };
  }
  const times: number[] = [];
  const clocked = async () => {
    const start = performance.now();
    const loss = await step();
    times.push(performance.now() - start);
    return loss;
  };
  const loss = await clocked();
  onLaunch = () => undefined;
  Reflect.deleteProperty(engine, 'gradients');
  kernels.forEach(([config, original]) => (config.kernelFunc = original));
  while (times.length < steps) {
    await clocked();
  }
  times.sort((one, other) => one - other);
  return {
    phases,
    peakBytes: meter!.peak,
    allocatedBytes: device.peak > 0 ? device.peak : null,
    ms: times[times.length >> 1]!,
    loss,
  };
}

let meter: BufferMeter | undefined;

/** Counts the bytes of tensors from now on. Call it before the first tensor is made. */
export function watchTensors(): BufferMeter {
  meter = new BufferMeter(globals._tfengine);
  return meter;
}
