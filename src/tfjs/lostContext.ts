import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../errors';

/** What tfjs's WebGL backend keeps to itself: for each tensor the texture that holds its numbers, if they are not in memory. */
interface WebGLBackend {
  gpgpu: {gl: WebGLRenderingContext};
  texData: {get: (dataId: object) => TextureData | undefined};
}

interface TextureData {
  values: unknown;
  texture?: {texture?: WebGLTexture} | WebGLTexture | null;
  /** Of a slice: the tensor that it is a part of. */
  slice?: {origDataId: object} | null;
}

/** How often it is looked whether a read can still come to an end, in milliseconds. */
const INTERVAL = 100;
const MESSAGE =
  'The WebGL context was lost, and with it the numbers of tensors that were on the graphics card. What was saved before is still there: load ' +
  'that, after the page was loaded again.';

/**
 * The numbers of a tensor.
 *
 * @throws LoRAError if they are lost with a WebGL context. tfjs waits for them without end, or gives zeros.
 */
export async function readTensor(tensor: tf.Tensor): Promise<Float32Array> {
  const gl = contextOf(tensor);
  if (gl === undefined) {
    return (await tensor.data()) as Float32Array;
  }
  let stop = (): void => undefined;
  const state = {isLost: false};
  const lost = new Promise<never>((_, reject) => {
    const fail = () => {
      state.isLost = true;
      reject(new LoRAError(MESSAGE));
    };
    const timer = setInterval(() => gl.isContextLost() && fail(), INTERVAL);
    gl.canvas.addEventListener('webglcontextlost', fail);
    stop = () => {
      clearInterval(timer);
      gl.canvas.removeEventListener('webglcontextlost', fail);
    };
  });
  try {
    const values = (await Promise.race([tensor.data(), lost])) as Float32Array;
    if (state.isLost || gl.isContextLost()) {
      throw new LoRAError(MESSAGE);
    }
    return values;
  } finally {
    stop();
  }
}

/**
 * The WebGL context from which the numbers of a tensor must be read, if they are in one.
 *
 * @throws LoRAError if it is lost. A context that was restored has none of its former textures.
 */
function contextOf(tensor: tf.Tensor): WebGLRenderingContext | undefined {
  const {state} = tf.engine() as unknown as {
    state: {tensorInfo: {get: (dataId: object) => {backend: Partial<WebGLBackend>} | undefined}};
  };
  const {gpgpu, texData} = state.tensorInfo.get(tensor.dataId)?.backend ?? {};
  let data = texData?.get(tensor.dataId);
  data = data?.slice ? texData?.get(data.slice.origDataId) : data;
  if (gpgpu === undefined || data === undefined || (data.values ?? null) !== null) {
    return undefined;
  }
  const {gl} = gpgpu;
  const {texture} = data;
  const handle = texture !== null && texture !== undefined && 'texture' in texture ? texture.texture : texture;
  if (gl.isContextLost() || (handle && !gl.isTexture(handle))) {
    throw new LoRAError(MESSAGE);
  }
  return gl;
}
