import type {HubConfig} from './hubConfig';
import type {ActivationName, Net, NetTensor} from './net';

/**
 * What a model computes: states; logits of classes, of a text or an image, or at each position; logits of the
 * vocabulary at each position, or at each audio frame; logits of each position as the start and the end of a span;
 * logits of choices; logits of classes, by the tokens for the class and for a teacher; a vector to compare with those
 * of another model; similarities of images and texts.
 */
export type Head =
  'none' | 'classes' | 'tokenClasses' | 'tokens' | 'ctc' | 'spans' | 'choices' | 'taught' | 'projection' | 'pairs';

/** How many outputs a new head must have: any number (`Infinity`) or exactly this many. */
export const NEW_HEADS: Readonly<Partial<Record<Head, number>>> = {
  classes: Infinity,
  tokenClasses: Infinity,
  taught: Infinity,
  ctc: Infinity,
  spans: 2,
  choices: 1,
};

/** How a model without a head returns a text: as states, or as one vector. */
export type Pooling = 'none' | 'mean' | 'first' | 'last' | 'pooler';

/** What a caller chooses beyond the config. */
export interface Purpose {
  head: Head;
  pooling: Pooling;
  /** The number of outputs of a head. */
  labels: number;
  /** The names of the classes of a new head, if given. */
  labelNames: readonly string[] | undefined;
  /** Whether the head is new instead of coming from the file. */
  isNew: boolean;
  /** Whether token types are an input. */
  tokenTypes: boolean;
  /** The stages whose features are the outputs, instead of the last ones. */
  outputs?: readonly string[] | undefined;
}

export interface ModelInputs {
  ids: NetTensor;
  mask: NetTensor;
  types: NetTensor;
  /** Images, `[batch, height, width, channels]`, or their patches, `[batch, patches, values]`. */
  pixels: NetTensor;
  /** Of patches: their mask, and the rows and columns of each image. */
  patchMask: NetTensor;
  grids: NetTensor;
  /** Spectrograms, `[batch, frames, bins]`, or samples, `[batch, samples]`. */
  sound: NetTensor;
}

export const NO_INPUTS: ModelInputs = {
  ids: null,
  mask: null,
  types: null,
  pixels: null,
  patchMask: null,
  grids: null,
  sound: null,
};

/**
 * The inputs of a model: token ids and a mask; images; both; spectrograms; audio samples and a mask; spectrograms and
 * the tokens of the transcript so far.
 */
export type Takes = 'texts' | 'images' | 'pairs' | 'spectrograms' | 'samples' | 'speech';

export interface Architecture {
  /** The prefix of the body's modules in a model with a head: `bert`. */
  prefix: string;
  /** Tensors that no model of the family uses, by their names without the prefix. */
  unused?: RegExp;
  /**
   * Tensors of PyTorch's classes that they do not always use, by their names without the prefix; those of a pooler only
   * in the body's class. `exportTransformer` writes them back.
   */
  uncomputed?: RegExp;
  /** The current name of a tensor in older files. */
  renamed?: (name: string) => string;
  /** The config of the text part of a model that also takes images, where only that part is loaded. */
  textPart?(config: HubConfig): HubConfig;
  /** The inputs of a model. Default: texts. */
  takes?: (head: Head) => Takes;
  /** The number of color channels, or of the bins of a spectrogram. */
  channels?(config: HubConfig): number;
  patchValues?(config: HubConfig): number;
  /** The supported classes of `transformers`, with their heads. */
  classes: Readonly<Record<string, Head>>;
  /** Alternative names of fields: the common name by the family's own name. Default: none. */
  commonNames?: Readonly<Record<string, string>>;
  /**
   * The number of blocks in the config. Each block has several tensors, so a config with more blocks than the files
   * have tensors is refused.
   */
  blocks(config: HubConfig): number;
  /** The size of the vocabulary, for text models. */
  vocabulary?(config: HubConfig): number;
  /** The longest text, in positions. */
  positions?(config: HubConfig): number;
  /** Reads the config and adds the layers. */
  build(net: Net, config: HubConfig, inputs: ModelInputs, purpose: Purpose): NetTensor;
}

/** How the names of a family's classes end, with their heads. */
const ENDS = {
  Model: 'none',
  ForCausalLM: 'tokens',
  ForSequenceClassification: 'classes',
  ForTokenClassification: 'tokenClasses',
  ForQuestionAnswering: 'spans',
  ForMaskedLM: 'tokens',
  ForMultipleChoice: 'choices',
} as const;
type ClassEnd = keyof typeof ENDS;

const TEXT_ENDS: readonly ClassEnd[] = ['ForSequenceClassification', 'ForTokenClassification', 'ForQuestionAnswering'];
/** What text encoders have. */
export const ENCODER_ENDS: readonly ClassEnd[] = ['Model', ...TEXT_ENDS, 'ForMaskedLM', 'ForMultipleChoice'];
/** What decoders have. */
export const DECODER_ENDS: readonly ClassEnd[] = ['Model', 'ForCausalLM', ...TEXT_ENDS];

/** The classes of a family whose names end like this. */
export function classesOf(family: string, ends: readonly ClassEnd[]): Architecture['classes'] {
  return Object.fromEntries(ends.map(end => [family + end, ENDS[end]]));
}

/** What families have that take images. */
export const OF_IMAGES = {
  takes: () => 'images',
  channels: config => config.count('num_channels', 3),
} satisfies Pick<Architecture, 'takes' | 'channels'>;

export const HUB_ACTIVATIONS: Readonly<Record<string, ActivationName>> = {
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  gelu_fast: 'gelu_tanh',
  quick_gelu: 'quick_gelu',
  relu: 'relu',
  relu6: 'relu6',
  silu: 'silu',
  swish: 'silu',
};

/** Those that can be gates. */
export const HUB_GATES = {silu: 'silu', swish: 'silu', gelu: 'gelu', gelu_pytorch_tanh: 'gelu_tanh'} as const;
export type GateName = (typeof HUB_GATES)[keyof typeof HUB_GATES];

export function nameOf(...parts: (string | number)[]): string {
  return parts.filter(name => name !== '').join('/');
}
