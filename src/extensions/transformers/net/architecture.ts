import type {HubConfig} from './hubConfig';
import type {ActivationName, Net, NetTensor} from './net';

/**
 * What a model computes: states; logits of classes, of a text or an image, or at each position; logits of the
 * vocabulary at each position; logits of each position as the start and the end of a span; logits of choices; logits of
 * classes, by the tokens for the class and for a teacher; a vector to compare with those of another model; similarities
 * of images and texts.
 */
export type Head =
  'none' | 'classes' | 'tokenClasses' | 'tokens' | 'spans' | 'choices' | 'taught' | 'projection' | 'pairs';

/** How many outputs a new head has to have: any number (`Infinity`), or just so many. */
export const NEW_HEADS: Readonly<Partial<Record<Head, number>>> = {
  classes: Infinity,
  tokenClasses: Infinity,
  taught: Infinity,
  spans: 2,
  choices: 1,
};

/** What stands for a text where the model has no head of its own. */
export type Pooling = 'none' | 'mean' | 'first' | 'last' | 'pooler';

/** What is made of a config beside what the config says. */
export interface Purpose {
  head: Head;
  pooling: Pooling;
  /** How many outputs a head has. */
  labels: number;
  /** The names of the classes of a new head, if they were given. */
  labelNames: readonly string[] | undefined;
  /** Whether the head starts anew instead of coming from the file. */
  isNew: boolean;
  /** Whether the types of tokens are an input. */
  tokenTypes: boolean;
}

/** The inputs of a model. */
export interface ModelInputs {
  ids: NetTensor;
  mask: NetTensor;
  types: NetTensor;
  pixels: NetTensor;
}

/** A family of models. */
export interface Architecture {
  /** What stands before the modules of the body where there is a head: `bert`. */
  prefix: string;
  /** Tensors in the files that no model of the family computes with, by their names without the prefix. */
  unused?: RegExp;
  /**
   * Tensors that PyTorch's classes have even if they do not compute with them, by their names without the prefix; a
   * pooler those of the body alone. What a model does not compute with is kept for `exportTransformer`.
   */
  uncomputed?: RegExp;
  /** The name that a tensor of older files has today. */
  renamed?: (name: string) => string;
  /** What is given to a model. Default: texts. */
  takes?: (head: Head) => 'texts' | 'images' | 'pairs';
  /** How many colors images have. */
  channels?(config: HubConfig): number;
  /** The classes of `transformers` that can be had, and their heads. */
  classes: Readonly<Record<string, Head>>;
  /** By the family's own name of a field: the common name, under which a config may have it as well. */
  commonNames: Readonly<Record<string, string>>;
  /** How many blocks the config says there are. More blocks than tensors in the files are refused. */
  blocks(config: HubConfig): number;
  /** The size of the vocabulary, for text models. */
  vocabulary?(config: HubConfig): number;
  /** The most positions that a text can have. */
  positions?(config: HubConfig): number;
  /** Reads the config and adds the layers. */
  build(net: Net, config: HubConfig, inputs: ModelInputs, purpose: Purpose): NetTensor;
}

/** The activations that configs name. */
export const HUB_ACTIVATIONS: Readonly<Record<string, ActivationName>> = {
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  gelu_fast: 'gelu_tanh',
  quick_gelu: 'quick_gelu',
  relu: 'relu',
  silu: 'silu',
  swish: 'silu',
};

/** Those of them that stand as gates. */
export const HUB_GATES = {silu: 'silu', swish: 'silu', gelu: 'gelu', gelu_pytorch_tanh: 'gelu_tanh'} as const;
export type GateName = (typeof HUB_GATES)[keyof typeof HUB_GATES];

/** Joins the parts of a layer's name. */
export function nameOf(...parts: (string | number)[]): string {
  return parts.filter(part => part !== '').join('/');
}
