import {setFlagsFromString} from 'node:v8';
import * as tf from '@tensorflow/tfjs';
import {useRelaxedSIMD} from '../../src/backends/loraKernels';
import {BINARY} from '../../src/backends/wasm/module/binary';
import {decodeBinary} from '../../src/backends/wasm/module/module';
import {withFusedSums} from '../../src/backends/wasm/module/relaxed';
import {useBackend} from '../helpers';

const compiled = decodeBinary(BINARY);
/** A module with one function, which drops the `f32x4.relaxed_madd` of three splats. */
const NEEDS_RELAXED = Uint8Array.from([
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 10, 20, 1, 18, 0],
  ...[0x41, 0, 0xfd, 0x0f, 0x41, 0, 0xfd, 0x0f, 0x41, 0, 0xfd, 0x0f, 0xfd, 0x85, 0x02, 0x1a, 0x0b],
]);

afterEach(() => useRelaxedSIMD(false));

async function loadAgain(): Promise<void> {
  const factory = tf.findBackendFactory('wasm');
  tf.removeBackend('wasm');
  tf.registerBackend('wasm', factory);
  await useBackend('wasm');
}

/** The gradients of a product and of a convolution, and their results, in the bits of the current kernels. */
function gradients(): Float32Array[] {
  return tf.tidy(() => {
    const random = (shape: number[], seed: number) => tf.randomNormal(shape, 0, 1, 'float32', seed);
    const ofProduct = tf.valueAndGrads((a: tf.Tensor, b: tf.Tensor) => tf.sum(tf.square(tf.matMul(a, b))));
    const ofConvolution = tf.valueAndGrads((x: tf.Tensor, w: tf.Tensor) =>
      tf.sum(tf.square(tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 2, 'same'))),
    );
    const parts = [
      ofProduct([random([13, 37], 1), random([37, 21], 2)]),
      ofConvolution([random([2, 9, 7, 5], 3), random([3, 3, 5, 11], 4)]),
    ];
    return parts.flatMap(({value, grads}) => [value, ...grads].map(x => x.dataSync() as Float32Array));
  });
}

function predictions(): Float32Array {
  return tf.tidy(() => {
    const [a, b] = [3, 4].map(seed => tf.randomNormal<tf.Rank.R2>([40, 40], 0, 1, 'float32', seed));
    return tf.matMul(a!, b!).dataSync<'float32'>();
  });
}

test('a product whose sum is a local variable is fused, and nothing else', () => {
  const mul = [0xfd, 0xe6, 1];
  const add = [0xfd, 0xe4, 1];
  const relaxed = [0xfd, 0x85, 2];
  const header = new Array<number>(8).fill(0);
  const changed = (...bytes: number[]) => [...withFusedSums(Uint8Array.from([...header, ...bytes]))].slice(8);
  expect(changed(...mul, 0x20, 5, ...add)).toEqual([1, 1, 1, 0x20, 5, ...relaxed]);
  expect(changed(...mul, 0x20, 0x85, 1, ...add, ...mul)).toEqual([1, 1, 1, 0x20, 0x85, 1, ...relaxed, ...mul]);
  expect(changed(...mul, ...add)).toEqual([...mul, ...add]);
  expect(changed(...mul, 0x20, 5, ...mul)).toEqual([...mul, 0x20, 5, ...mul]);
  expect(changed(...mul, 0x20)).toEqual([...mul, 0x20]);
  expect(changed(...mul, 0x20, 0x85)).toEqual([...mul, 0x20, 0x85]);
});

test('the loops of the module are fused', () => {
  const fused = withFusedSums(compiled);
  const count = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex').split('fd8502').length - 1;
  expect(count(compiled)).toBe(0);
  // The tiles of products, of convolutions and of gradients have eight sums each, four of them in two loops.
  expect(count(fused)).toBeGreaterThanOrEqual(40);
});

test('it changes nothing where the engine has no such instruction', () => {
  if (WebAssembly.validate(NEEDS_RELAXED)) {
    return; // Node 21 and later have it
  }
  const before = gradients();
  expect(useRelaxedSIMD()).toBe(false);
  expect(gradients()).toEqual(before);
});

test('it says that another backend has none of it', async () => {
  await useBackend('cpu');
  expect(useRelaxedSIMD()).toBe(false);
  await useBackend('wasm');
});

test('it refuses what is neither true nor false', () => {
  expect(() => useRelaxedSIMD('yes' as unknown as boolean)).toThrow('useRelaxedSIMD expects true or false, got "yes".');
});

describe('where the engine has it', () => {
  beforeAll(async () => {
    if (!WebAssembly.validate(NEEDS_RELAXED)) {
      setFlagsFromString('--experimental-wasm-relaxed-simd');
    }
    expect(WebAssembly.validate(NEEDS_RELAXED)).toBe(true);
    await loadAgain(); // what an engine has is found out once
  });

  test('gradients are those of the cpu backend', async () => {
    expect(useRelaxedSIMD()).toBe(true);
    const actual = gradients();
    await useBackend('cpu');
    const expected = gradients();
    await useBackend('wasm');
    actual.forEach((values, i) => {
      const largest = Math.max(...expected[i]!.map(Math.abs));
      const off = Math.max(...values.map((value, at) => Math.abs(value - expected[i]![at]!)));
      expect(off / largest).toBeLessThan(1e-5);
    });
  });

  test('only what is recorded has other bits', () => {
    const [plain, predicted] = [gradients(), predictions()];
    expect(useRelaxedSIMD()).toBe(true);
    expect(predictions()).toEqual(predicted);
    expect(gradients()).not.toEqual(plain);
    expect(useRelaxedSIMD(false)).toBe(false);
    expect(gradients()).toEqual(plain);
  });

  test('a backend that is loaded later has it too', async () => {
    const plain = gradients();
    await useBackend('cpu');
    useRelaxedSIMD();
    await loadAgain();
    expect(gradients()).not.toEqual(plain);
  });
});
