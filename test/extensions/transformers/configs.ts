import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {disposeModel, LoRAError} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {encodeSafetensors, type NamedValues} from '../../../src/platform/formats/encodeSafetensors';
import {randomFrom} from '../../attack/damage';

/** Where `make_configs.py` writes. npm runs its scripts, and jest its tests, in the folder of the project. */
const FOLDER = 'test/fixtures/configs';

const TEXTS = [
  ...['bert', 'roberta', 'xlm-roberta', 'electra', 'albert', 'nomic_bert', 'distilbert', 'modernbert', 'gpt2', 'llama'],
  ...['mistral', 'qwen2', 'qwen3', 'gemma3_text', 'smollm3', 'phi3', 'olmo2', 'granite', 't5'],
  ...['gemma', 'gemma2', 'olmo3', 'gpt_neox', 'phi', 'opt', 'lfm2', 'mobilebert'],
  ...['new', 'deberta', 'xlm-roberta-xl', 'deberta-v2', 'gte', 'clip_text_model', 'siglip_text_model'],
];

/** Encoders of images that consist of stages. */
export const FEATURES = [
  ...['resnet', 'convnext', 'convnextv2', 'dinov3_convnext', 'swin', 'swinv2', 'mobilenet_v2', 'efficientnet'],
  ...['segformer', 'mobilevit'],
];

export const VISION = [
  ...[
    'vit',
    'deit',
    'beit',
    'dinov2',
    'dinov2_with_registers',
    'dinov3_vit',
    'siglip_vision_model',
    'siglip2_vision_model',
    'clip_vision_model',
  ],
  ...FEATURES,
];

/** Encoders of texts and images together. */
export const PAIRS = ['clip', 'siglip', 'siglip2'];

/** Models that hear. */
export const SOUNDS = ['whisper', 'wav2vec2', 'hubert', 'audio-spectrogram-transformer'];

export const FAMILIES = [...TEXTS, ...VISION, ...PAIRS, ...SOUNDS];

type Config = Readonly<Record<string, unknown>>;

/** A config, inputs, and some numbers of what PyTorch computes with them. */
export interface ConfigCase {
  family: string;
  seed: number;
  architecture: string;
  /** Whether something in the config is strange, so that refusing it is right too. */
  odd: boolean;
  config: Config;
  tensors: readonly {name: string; shape: number[]}[];
  ids: number[][];
  mask: number[][];
  /** Which frames are of a sound, for CTC. */
  frames?: number[][];
  /** Of a model for images, which has no tokens if it is for these alone: `[batch, height, width, channels]`. */
  pixels?: number[];
  /** Of a model for patches of images, `[batch, patches, values]`: their mask, and the rows and columns of each image. */
  patchMask?: number[][];
  grids?: number[][];
  /** Of a model that hears: `[batch, frames, bins]`, or `[batch, samples]`. */
  sound?: number[];
  /** `null` where transformers refuses. */
  values: number[] | null;
}

/** What becomes of a model when a key of its config is set to this or that. */
export interface Settings extends ConfigCase {
  tried: unknown[];
  outcomes: Record<string, ('same' | 'other' | 'error')[]>;
}

type Stored<T> = Omit<T, 'tensors' | 'family'> & {tensors: [name: number, ...shape: number[]][]};

export function configsOf(family: string): {cases: ConfigCase[]; settings: Settings} {
  const {names, cases, settings} = JSON.parse(readFileSync(join(FOLDER, `${family}.json`), 'utf8')) as {
    names: string[];
    cases: Stored<ConfigCase>[];
    settings: Stored<Settings>;
  };
  const whole = <T>(stored: Stored<T>) => ({
    ...stored,
    family,
    tensors: stored.tensors.map(([name, ...shape]) => ({name: names[name]!, shape})),
  });
  return {cases: cases.map(each => whole<ConfigCase>(each)), settings: whole<Settings>(settings)};
}

const files = new WeakMap<ConfigCase, Uint8Array<ArrayBuffer>>();

/** The file of a case, with the numbers that `make_configs.py` draws. */
export function weightsOf(given: ConfigCase): Uint8Array<ArrayBuffer> {
  const file = files.get(given) ?? new Uint8Array(drawnWeights(given));
  files.set(given, file);
  return file;
}

function drawnWeights({seed, tensors}: ConfigCase): Uint8Array {
  return encodeSafetensors(
    Object.fromEntries(
      tensors.map(({name, shape}, i): [string, NamedValues] => {
        const random = randomFrom(1000 * seed + i);
        const center = shape.length === 1 && /(weight|running_var)$/.test(name) ? 1 : 0;
        return [name, {shape, data: new Float32Array(tf.util.sizeFromShape(shape)).map(() => random() - 0.5 + center)}];
      }),
    ),
  );
}

/** The inputs of a case; images and sounds are drawn from its seed, as `make_configs.py` draws them. */
export function inputsOf(
  {seed, pixels, patchMask = [], grids = [], sound}: ConfigCase,
  texts: readonly number[][][],
): tf.Tensor[] {
  const wholes = (lists: readonly number[][][]) =>
    lists.filter(rows => rows.length > 0).map(rows => tf.tensor2d(rows, undefined, 'int32'));
  const tokens = wholes(texts);
  const shape = pixels ?? sound;
  if (shape === undefined) {
    return tokens;
  }
  const random = randomFrom(5_000_000 + seed);
  const numbers = new Float32Array(tf.util.sizeFromShape(shape)).map(() => 4 * (random() - 0.5));
  const drawn = tf.tensor(numbers, shape);
  return sound === undefined ? [...tokens, drawn, ...wholes([patchMask, grids])] : [drawn, ...tokens];
}

/** What may be done with a case in one way or another, and changes none of its numbers. */
export interface Ways {
  config?: Config;
  gradientCheckpointing?: boolean;
  /** Whether the weights come as a stream. */
  streams?: boolean;
  /** So many positions more, which the mask hides. */
  more?: number;
}

/** The numbers of a case as `make_configs.py` picks them, or the refusal. */
export async function computed(
  given: ConfigCase,
  {config = given.config, gradientCheckpointing = false, streams = false, more = 0}: Ways = {},
): Promise<number[] | LoRAError> {
  const {architecture} = given;
  // A token of MobileBERT sees the embedding of the next one, also if that is padding.
  const added = given.sound === undefined && given.family !== 'mobilebert' ? more : 0;
  const filled = (rows: number[][]) => rows.map(row => [...row, ...Array.from({length: added}, () => 0)]);
  const [ids, mask] = [filled(given.ids), filled(given.mask)];
  let model: tf.LayersModel;
  try {
    const bytes = weightsOf(given);
    const weights = streams ? new Blob([bytes]) : bytes;
    model = (await loadTransformer({config: JSON.stringify(config), weights, architecture, gradientCheckpointing}))
      .model;
  } catch (error) {
    if (error instanceof LoRAError) {
      return error;
    }
    throw error;
  }
  try {
    const numbers = tf.tidy(() => {
      // `predict` wants as many images as texts.
      const inputs = inputsOf(given, [ids, mask]);
      const result = (PAIRS.includes(given.family) ? model.apply(inputs) : model.predict(inputs)) as tf.Tensor;
      const width = result.shape.at(-1)!;
      const values = Array.from(result.dataSync());
      const counts = (given.frames ?? mask).flat();
      return result.rank === 3 && counts.length > 0 && (given.sound === undefined || given.frames !== undefined)
        ? values.filter((_, i) => counts[Math.floor(i / width)] === 1)
        : values;
    });
    const step = Math.ceil(numbers.length / 40);
    return numbers.filter((_, i) => i % step === 0);
  } catch (error) {
    if (error instanceof LoRAError && given.pixels !== undefined) {
      return error; // positions of images are interpolated when the model runs
    }
    throw error;
  } finally {
    disposeModel(model);
  }
}

/** Whether numbers are those of PyTorch, to what 32-bit floats and six digits allow. */
export function areClose(one: readonly number[], other: readonly number[]): boolean {
  const largest = Math.max(...other.map(Math.abs), 1);
  return one.length === other.length && one.every((value, i) => Math.abs(value - other[i]!) <= 1e-4 * largest);
}

/**
 * What is wrong with what becomes of a case: something else than PyTorch computes, a refusal of what is ordinary, or no
 * refusal of what transformers refuses. `undefined` if nothing is.
 */
export function faultOf({values, odd}: ConfigCase, result: readonly number[] | LoRAError): string | undefined {
  if (result instanceof LoRAError) {
    return odd ? undefined : `It is refused: ${result.message}`;
  }
  if (values === null) {
    return 'It is loaded, and transformers refuses it.';
  }
  return areClose(result, values)
    ? undefined
    : `It gives ${result.slice(0, 4).join(', ')}, and PyTorch ${values.slice(0, 4).join(', ')}.`;
}
