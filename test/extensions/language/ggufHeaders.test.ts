import {readFileSync} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import {LoRAError} from 'tfjs-lora';
import {withoutLeaks} from '../../helpers';
import type {BuiltValue} from './ggufFiles';
import {computedHeader, headerFault, headerOf, HEADERS} from './ggufHeaders';

/** By seed; `null` where llama.cpp loads no such file. */
const references = JSON.parse(readFileSync(HEADERS, 'utf8')) as Record<string, number[] | null>;
/** The others are for the attack. */
const COUNT = 120;

beforeAll(() => tf.setBackend('cpu'));

test('files with random settings give what llama.cpp gives, or are refused', async () => {
  await withoutLeaks(async () => {
    const faults: string[] = [];
    let [loaded, refusedBoth] = [0, 0];
    for (const [seed, reference] of Object.entries(references).slice(0, COUNT)) {
      const {family, file, settings} = headerOf(Number(seed));
      const result = await computedHeader(file);
      const fault = headerFault(result, reference);
      if (fault !== undefined) {
        faults.push(`seed ${seed}, ${family}: ${fault}: ${JSON.stringify(settings)}`);
      }
      loaded += Number(!(result instanceof LoRAError));
      refusedBoth += Number(result instanceof LoRAError && reference === null);
    }
    expect(faults).toEqual([]);
    expect(loaded).toBeGreaterThan(COUNT / 3);
    expect(refusedBoth).toBeGreaterThan(10);
  });
});

describe('settings that change the numbers', () => {
  const [LLAMA, QWEN3, GEMMA3, PHI3, GPT2] = [12, 8, 15, 4, 5];
  const float32 = (value: number) => ({float32: value});

  test.each<[seed: number, settings: Record<string, BuiltValue | undefined>, message: RegExp]>([
    [
      QWEN3,
      {'rope.scaling.type': 'yarn'},
      /^qwen3\.rope\.scaling\.type of the GGUF file is "yarn", which is not supported/,
    ],
    [QWEN3, {'rope.dimension_count': 2}, /qwen3\.rope\.dimension_count of the GGUF file is 2 with a head size of \d+/],
    [QWEN3, {'attention.value_length': 4}, /attention\.value_length of the GGUF file is 4 with a head size/],
    [QWEN3, {'attention.layer_norm_rms_epsilon': undefined}, /has no qwen3\.attention\.layer_norm_rms_epsilon/],
    [GEMMA3, {'attention.sliding_window_pattern': [1, 1, 0, 1]}, /sliding_window_pattern must be a positive integer/],
    [GEMMA3, {final_logit_softcapping: float32(30)}, /gemma3\.final_logit_softcapping of the GGUF file is 30/],
    [PHI3, {'rope.scaling.factor': float32(4)}, /phi3\.rope\.scaling\.factor of the GGUF file is 4 in phi3/],
    [PHI3, {'rope.scale_linear': float32(4)}, /phi3\.rope\.scale_linear of the GGUF file is 4 in phi3/],
    [PHI3, {'rope.scaling.type': 'yarn'}, /phi3\.rope\.scaling\.type of the GGUF file is "yarn"/],
    [GPT2, {'attention.head_count_kv': 1}, /gpt2\.attention\.head_count_kv of the GGUF file is 1 with \d query heads/],
    [LLAMA, {'rope.new_setting': 1, other: true}, /llama\.rope\.new_setting of .* is 1.*\nllama\.other of .* is true/],
  ])('seed %d, %j: refused by name', async (seed, settings, message) => {
    await withoutLeaks(async () => {
      const result = await computedHeader(headerOf(seed, settings).file);
      expect(result).toBeInstanceOf(LoRAError);
      expect((result as LoRAError).message).toMatch(message);
    });
  });

  test('a factor without a type, and one under its older name, stretch all angles', async () => {
    const of = (settings: Record<string, BuiltValue>) => computedHeader(headerOf(QWEN3, settings).file);
    const linear = await of({'rope.scaling.type': 'linear', 'rope.scaling.factor': float32(4)});
    expect(await of({'rope.scaling.factor': float32(4)})).toEqual(linear);
    expect(await of({'rope.scale_linear': float32(4)})).toEqual(linear);
    const plain = await of({});
    expect(plain).not.toEqual(linear);
    expect(await of({'rope.scaling.type': 'none', 'rope.scaling.factor': float32(4)})).toEqual(plain);
  });
});
