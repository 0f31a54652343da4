// What is taken of an ONNX file: a message of protocol buffers,
// https://github.com/onnx/onnx/blob/main/onnx/onnx.proto

/** A tensor of float32 that the graph brings, or of int8, as the same numbers. */
export interface OnnxTensor {
  shape: number[];
  data: Float32Array;
}

/** An operation of the graph. */
export interface OnnxNode {
  name: string;
  operation: string;
  inputs: string[];
  outputs: string[];
}

export interface OnnxGraph {
  tensors: Map<string, OnnxTensor>;
  nodes: OnnxNode[];
}

/** By the numbers of ONNX's types. Others, such as shapes of int64, are left out. */
const TYPES = new Map<number | undefined, typeof Float32Array | typeof Int8Array>([
  [1, Float32Array],
  [3, Int8Array],
]);

/** Reads the graph of an ONNX file whose tensors lie in the file. */
export function readOnnx(file: Uint8Array): OnnxGraph {
  const graph = new Message(new Message(file).bytes(7)[0]!);
  const nodes = graph.bytes(1).map(bytes => {
    const node = new Message(bytes);
    return {
      name: node.text(3),
      operation: node.text(4),
      inputs: node.bytes(1).map(textOf),
      outputs: node.bytes(2).map(textOf),
    };
  });
  const tensors = graph.bytes(5).flatMap((bytes): [string, OnnxTensor][] => {
    const tensor = new Message(bytes);
    const [name, Values, values] = [tensor.text(8), TYPES.get(tensor.integers(2)[0]), tensor.bytes(9)[0]];
    if (Values === undefined) {
      return [];
    }
    if (values === undefined) {
      throw new Error(`Tensor "${name}" is not stored as bytes.`);
    }
    const numbers = new Values(new Uint8Array(values).buffer);
    return [[name, {shape: tensor.integers(1), data: Float32Array.from(numbers)}]];
  });
  return {tensors: new Map(tensors), nodes};
}

/** A matrix `[in, out]` as the hub has it, `[out, in]`. */
export function transposed({shape: [rows = 0, columns = 0], data}: OnnxTensor): OnnxTensor {
  const turned = new Float32Array(data.length);
  data.forEach((value, i) => {
    turned[(i % columns) * rows + Math.floor(i / columns)] = value;
  });
  return {shape: [columns, rows], data: turned};
}

/** The fields of a message by their numbers. */
class Message {
  private readonly fields = new Map<number, (number | Uint8Array)[]>();

  constructor(message: Uint8Array) {
    const reader = new Reader(message);
    while (!reader.atEnd) {
      const tag = reader.integer();
      const field = Math.floor(tag / 8);
      this.fields.set(field, [...(this.fields.get(field) ?? []), reader.value(tag % 8)]);
    }
  }

  bytes(field: number): Uint8Array[] {
    return (this.fields.get(field) ?? []).filter(value => typeof value !== 'number');
  }

  text(field: number): string {
    return textOf(this.bytes(field)[0] ?? new Uint8Array(0));
  }

  /** Integers, each by itself or several packed into bytes. */
  integers(field: number): number[] {
    return (this.fields.get(field) ?? []).flatMap(value => {
      if (typeof value === 'number') {
        return value;
      }
      const reader = new Reader(value);
      const integers: number[] = [];
      while (!reader.atEnd) {
        integers.push(reader.integer());
      }
      return integers;
    });
  }
}

class Reader {
  private position = 0;

  constructor(private readonly source: Uint8Array) {}

  get atEnd(): boolean {
    return this.position >= this.source.length;
  }

  /** An integer of seven bits a byte, the lowest first; all but the last byte have the highest bit. */
  integer(): number {
    for (let value = 0, factor = 1; ; factor *= 128) {
      const byte = this.take(1)[0]!;
      value += (byte % 128) * factor;
      if (byte < 128) {
        return value;
      }
    }
  }

  value(type: number): number | Uint8Array {
    switch (type) {
      case 0:
        return this.integer();
      case 1:
        return this.take(8);
      case 2:
        return this.take(this.integer());
      case 5:
        return this.take(4);
      default:
        throw new Error(`No field has the type ${type}.`);
    }
  }

  private take(count: number): Uint8Array {
    if (count > this.source.length - this.position) {
      throw new Error(`${count} bytes should follow where ${this.source.length - this.position} are left.`);
    }
    this.position += count;
    return this.source.subarray(this.position - count, this.position);
  }
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
