import {show, unsupportedError} from '../../platform/errors';
import {HubConfig} from '../transformers/net/hubConfig';
import type {Resampling} from '../transformers/ops/resampling';

/** How images are preprocessed for a model. */
export interface Preprocessing {
  /** The size, or that of the shorter edge. */
  size: {height: number; width: number} | {shortest: number} | undefined;
  resampling: Resampling;
  /** The size of the center crop. */
  crop: {height: number; width: number} | undefined;
  /** The factor for colors from 0 to 255. */
  factor: number;
  /** For each color. */
  mean: readonly number[];
  deviation: readonly number[];
  /** Whether blue comes first. Default: red. */
  flips?: boolean;
  /** Whether resized colors are not rounded to integers. Default: false. */
  isExact?: boolean;
  /** How images become sequences of patches, if the model takes these. */
  patches?: PatchSettings;
}

export interface PatchSettings {
  /** The height and width of a patch. */
  edge: number;
  /** The length of a sequence. */
  most: number;
  /** Whether images are resized to as many patches as fit. */
  resizes: boolean;
}

/** The defaults of a class of transformers. */
interface Defaults {
  resample: number;
  size: unknown;
  /** Whether a size of one number is that of the shorter edge. */
  isShortest?: boolean;
  crop?: number;
  /** The share of a smaller image that is kept (`crop_pct`), for the class that crops by one. */
  share?: number;
  /** Whether the class reads `include_top` and `rescale_offset`. */
  isCentered?: boolean;
  /** Whether the class reads `do_flip_channel_order`, and never normalizes. */
  flips?: boolean;
  /** Whether the class resizes floats, as torchvision does. */
  isExact?: boolean;
  /** Whether the class makes patches. */
  hasPatches?: boolean;
  mean: readonly number[];
  deviation: readonly number[];
}

const HALVES = {mean: [0.5, 0.5, 0.5], deviation: [0.5, 0.5, 0.5]};
const OF_IMAGENET = {mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225]};
const OF_CLIP = {
  resample: 3,
  size: {shortest_edge: 224},
  isShortest: true,
  crop: 224,
  mean: [0.48145466, 0.4578275, 0.40821073],
  deviation: [0.26862954, 0.26130258, 0.27577711],
};

/** A row for each class of transformers, by its name before `ImageProcessor`. */
const PROCESSORS: Readonly<Record<string, Defaults>> = {
  ViT: {...HALVES, resample: 2, size: {height: 224, width: 224}},
  Beit: {...HALVES, resample: 3, size: {height: 224, width: 224}},
  DeiT: {...HALVES, resample: 3, size: {height: 256, width: 256}, crop: 224},
  CLIP: OF_CLIP,
  Bit: OF_CLIP,
  Siglip: {...HALVES, resample: 3, size: {height: 224, width: 224}, isShortest: true},
  Siglip2: {...HALVES, resample: 2, size: undefined, hasPatches: true},
  ConvNext: {...HALVES, resample: 3, size: {shortest_edge: 384}, isShortest: true, share: 224 / 256},
  MobileNetV2: {...HALVES, resample: 2, size: {shortest_edge: 256}, isShortest: true, crop: 224},
  EfficientNet: {...HALVES, resample: 3, size: {height: 346, width: 346}, isCentered: true},
  Segformer: {...OF_IMAGENET, resample: 2, size: {height: 512, width: 512}},
  MobileViT: {...HALVES, resample: 3, size: {shortest_edge: 224}, isShortest: true, crop: 256, flips: true},
  DINOv3ViT: {...OF_IMAGENET, resample: 2, size: {height: 224, width: 224}, isExact: true},
};

/** Filters by their numbers in Pillow. */
const FILTERS: readonly Resampling[] = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming'];

/**
 * Reads a `preprocessor_config.json`.
 *
 * @throws LoRAError with a line for each fault and each unsupported setting.
 */
export function readPreprocessor(source: string | object): Preprocessing {
  const config = HubConfig.parse(source, 'preprocessor');
  const type = config.get('image_processor_type') ?? config.get('feature_extractor_type');
  const [, name = ''] = /^(\w+?)(?:ImageProcessor|FeatureExtractor)(?:Fast|Pil)?$/.exec(String(type)) ?? [];
  const defaults = Object.hasOwn(PROCESSORS, name) ? PROCESSORS[name] : undefined;
  if (defaults === undefined) {
    throw unsupportedError(
      `The preprocessor has image_processor_type ${show(type)}, which is not supported. Supported: ` +
        `${Object.keys(PROCESSORS)
          .map(family => `${family}ImageProcessor`)
          .join(', ')}.`,
    );
  }
  config.expect('do_pad', false, null);
  const {isCentered = false, isExact = false, hasPatches = false} = defaults;
  const rescales = flagOf(config, 'do_rescale', true);
  const normalizes = flagOf(config, 'do_normalize', true) && defaults.flips !== true;
  if (defaults.flips !== true) {
    config.expect('do_flip_channel_order', false, null);
  }
  if (isExact) {
    config.expect('do_rescale', true, null);
    config.expect('do_center_crop', false, null);
    config.expect('resample', 2, 3, null);
  }
  const resizes = flagOf(config, 'do_resize', true);
  const size = resizes && !hasPatches ? sizeOf(config, defaults) : undefined;
  const crops = !hasPatches && flagOf(config, 'do_center_crop', defaults.crop !== undefined);
  const crop = crops ? edgesOf(config, 'crop_size', config.get('crop_size') ?? defaults.crop ?? 224) : undefined;
  const read: Preprocessing = {
    ...(defaults.share === undefined ? {size, crop} : shareOf(config, defaults.share, size)),
    resampling: resamplingOf(config, defaults),
    factor: rescales ? config.number('rescale_factor', 1 / 255) : 1,
    mean: normalizes ? colorsOf(config, 'image_mean', defaults.mean) : [0, 0, 0],
    deviation: normalizes ? colorsOf(config, 'image_std', defaults.deviation) : [1, 1, 1],
    flips: defaults.flips === true && flagOf(config, 'do_flip_channel_order', true),
    isExact,
    ...(hasPatches && {
      patches: {edge: config.count('patch_size', 16), most: config.count('max_num_patches', 256), resizes},
    }),
    ...(isCentered && {...centeredOf(config, defaults, {rescales, normalizes})}),
  };
  config.check();
  return read;
}

/** The means and deviations of the class that subtracts 1 from colors, and divides by the deviations once more. */
function centeredOf(
  config: HubConfig,
  {mean, deviation}: Defaults,
  {rescales, normalizes}: {rescales: boolean; normalizes: boolean},
): Pick<Preprocessing, 'mean' | 'deviation'> {
  const offset = rescales && flagOf(config, 'rescale_offset', false) ? 1 : 0;
  const times = Number(normalizes) + Number(flagOf(config, 'include_top', true));
  const means = normalizes ? colorsOf(config, 'image_mean', mean) : [0, 0, 0];
  return {
    mean: means.map(value => value + offset),
    deviation: colorsOf(config, 'image_std', deviation).map(value => value ** times),
  };
}

/** `null` means the class's default. */
function flagOf(config: HubConfig, name: string, otherwise: boolean): boolean {
  return config.get(name) === null ? otherwise : config.flag(name, otherwise);
}

function resamplingOf(config: HubConfig, {resample}: Defaults): Resampling {
  const number = config.get('resample') ?? resample;
  const filter = typeof number === 'number' ? FILTERS[number] : undefined;
  if (filter === undefined) {
    const filterNames = FILTERS.map((filter, i) => `${i} (${filter})`).join(', ');
    config.fault(`resample is ${show(number)}, which is not supported. Supported: ${filterNames}.`);
  }
  return filter ?? 'bilinear';
}

function sizeOf(config: HubConfig, {size, isShortest}: Defaults): Preprocessing['size'] {
  const sizeSetting = config.get('size') ?? size;
  if (typeof sizeSetting === 'number' && isShortest === true && isSize(sizeSetting)) {
    return {shortest: sizeSetting};
  }
  const shortest = fieldOf(sizeSetting, 'shortest_edge');
  if (isSize(shortest) && Object.values(sizeSetting as object).filter(value => value !== null).length === 1) {
    return {shortest};
  }
  return edgesOf(config, 'size', sizeSetting);
}

/** From this size on, images are not cropped by a share, but become squares. */
const WHOLE = 384;

/** The size and the crop by which a share of a smaller image is kept, as a square. */
function shareOf(
  config: HubConfig,
  otherwise: number,
  size: Preprocessing['size'],
): Pick<Preprocessing, 'size' | 'crop'> {
  config.expect('do_center_crop', false, null);
  const share = config.get('crop_pct') === null ? otherwise : config.number('crop_pct', otherwise);
  if (size === undefined) {
    return {size, crop: undefined};
  }
  if (!('shortest' in size)) {
    config.fault(`size must be {shortest_edge} for a ConvNextImageProcessor, got ${show(config.get('size'))}.`);
    return {size, crop: undefined};
  }
  const {shortest} = size;
  const square = {height: shortest, width: shortest};
  if (shortest >= WHOLE) {
    return {size: square, crop: undefined};
  }
  const resized = Math.trunc(shortest / share);
  if (!isSize(resized)) {
    config.fault(
      `crop_pct resizes images of ${shortest} pixels to ${show(resized)}; an edge may have 1 to ${MAX_EDGE}.`,
    );
  }
  return {size: {shortest: resized}, crop: square};
}

/** A height and a width, from one number, two numbers, or named fields. */
function edgesOf(config: HubConfig, name: string, setting: unknown): {height: number; width: number} {
  const [height, width] = Array.isArray(setting)
    ? (setting as unknown[])
    : typeof setting === 'number'
      ? [setting, setting]
      : [fieldOf(setting, 'height'), fieldOf(setting, 'width')];
  if (!isSize(height) || !isSize(width)) {
    config.fault(
      `${name} is ${show(setting)}, which is not supported. Use {height, width}${name === 'size' ? ' or {shortest_edge}' : ''}.`,
    );
    return {height: 1, width: 1};
  }
  return {height, width};
}

/** The largest edge of a resized image. */
export const MAX_EDGE = 2 ** 13;

function isSize(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) <= MAX_EDGE;
}

function fieldOf(setting: unknown, name: string): unknown {
  return typeof setting === 'object' && setting !== null ? (setting as Record<string, unknown>)[name] : undefined;
}

/** A number for each color, or one for all. */
function colorsOf(config: HubConfig, name: string, otherwise: readonly number[]): readonly number[] {
  const setting = config.get(name) ?? otherwise;
  const colors: unknown[] =
    typeof setting === 'number' ? [setting, setting, setting] : Array.isArray(setting) ? setting : [];
  const isColor = (value: unknown) => Number.isFinite(value) && (name === 'image_mean' || value !== 0);
  if (colors.length !== 3 || !colors.every(isColor)) {
    config.fault(`${name} must be three numbers, one for each color, got ${show(setting)}.`);
    return otherwise;
  }
  return colors as number[];
}
