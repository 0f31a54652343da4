import * as tf from '@tensorflow/tfjs';

// Fields of the data of a tensor in tfjs's webgl and webgpu backends. They are private in tfjs.

interface CardData {
  /** In the page's memory; `null` once they are only on the card. */
  values: tf.backend_util.BackendValues | null;
  /** The parts of complex numbers, which are freed with them. */
  complexTensorInfos?: {real: tf.TensorInfo; imag: tf.TensorInfo};
}

function dataOf({dataId}: tf.TensorInfo): CardData {
  const {texData, tensorMap} = tf.backend() as unknown as Record<
    'texData' | 'tensorMap',
    {get(dataId: tf.DataId): CardData} | undefined
  >;
  return (texData ?? tensorMap)?.get(dataId) as CardData;
}

/** Runs `f`, which uploads a tensor's values to the card, and keeps them in the page's memory too. */
export function keepingNumbers<T>(x: tf.Tensor, f: () => T): T {
  const data = dataOf(x);
  const {values} = data;
  const result = f();
  data.values = values;
  return result;
}

/** The values of a tensor in another layout, converted once, in WebGL. Freed with the tensor. */
export function convertedData(x: tf.Tensor, make: () => tf.TensorInfo): tf.TensorInfo {
  const data = dataOf(x);
  if (data.complexTensorInfos === undefined) {
    const converted = make();
    data.complexTensorInfos = {real: converted, imag: converted};
  }
  return data.complexTensorInfos.real;
}

/** No data of a backend. WebGPU cannot free the same data twice while a program of its queue reads it. */
const NOTHING: tf.TensorInfo = {dataId: {}, shape: [], dtype: 'float32'};

/** Parts of the values of a tensor, made once. Each is freed with the one before, and the first with the tensor. */
export function dataInParts(x: tf.TensorInfo, make: () => readonly tf.TensorInfo[]): tf.TensorInfo[] {
  let data = dataOf(x);
  if (data.complexTensorInfos === undefined) {
    for (const tensorInfo of make()) {
      data.complexTensorInfos = {real: tensorInfo, imag: NOTHING};
      data = dataOf(tensorInfo);
    }
  }
  const parts: tf.TensorInfo[] = [];
  for (let next = dataOf(x).complexTensorInfos; next !== undefined; next = dataOf(next.real).complexTensorInfos) {
    parts.push(next.real);
  }
  return parts;
}
