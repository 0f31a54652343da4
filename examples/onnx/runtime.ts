import {HEIGHT, type Line, valuesOf, WIDTH} from './lines';

/** What is used of onnxruntime-web. */
export interface Runtime {
  env: {wasm: {numThreads?: number}};
  InferenceSession: {create(file: Uint8Array): Promise<Session>};
  Tensor: new (type: 'float32', data: Float32Array, dims: readonly number[]) => object;
}

/** An ONNX file that ONNX Runtime has loaded. */
export interface Session {
  run(inputs: Record<string, object>): Promise<Record<string, {data: Float32Array}>>;
  outputNames: readonly string[];
  release(): Promise<void>;
}

/** The probability that each line is upside down, by ONNX Runtime. */
export async function chancesInRuntime({Tensor}: Runtime, session: Session, lines: readonly Line[]): Promise<number[]> {
  const outputs = await session.run({x: new Tensor('float32', valuesOf(lines), [lines.length, 3, HEIGHT, WIDTH])});
  const {data} = outputs[session.outputNames[0]!]!;
  return lines.map((_, i) => data[2 * i + 1]!);
}
