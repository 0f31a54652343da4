import {listed, show, throwFaults, unsupportedError} from '../../../platform/errors';
import {type Architecture, type Head, NEW_HEADS, type Pooling, type Purpose} from '../net/architecture';
import {bodyAlone} from './fileTensors';
import type {HubConfig} from '../net/hubConfig';

const roberta = async () => (await import('../families/roberta')).roberta;

/**
 * A row for each `model_type` of the hub. A page only loads the families that it uses. Some have variants for a part of
 * the model, chosen by class.
 */
const ARCHITECTURES: Readonly<Record<string, (asked: string | undefined) => Promise<Architecture>>> = {
  'audio-spectrogram-transformer': async () => (await import('../families/ast')).ast,
  albert: async () => (await import('../families/albert')).albert,
  beit: async () => (await import('../families/beit')).beit,
  bert: async () => (await import('../families/bert')).bert,
  camembert: roberta,
  clip: async asked => {
    const {clip, clipText} = await import('../families/clip');
    return asked?.startsWith('CLIPText') === true ? clipText : clip;
  },
  clip_text_model: async () => (await import('../families/clip')).clipText,
  clip_vision_model: async () => (await import('../families/clip')).clip,
  convnext: async () => (await import('../families/convnext')).convnext,
  convnextv2: async () => (await import('../families/convnext')).convnextV2,
  deberta: async () => (await import('../families/deberta')).deberta,
  'deberta-v2': async () => (await import('../families/debertaV2')).debertaV2,
  deit: async () => (await import('../families/deit')).deit,
  dinov2: async () => (await import('../families/dinov2')).dinov2,
  dinov2_with_registers: async () => (await import('../families/dinov2')).dinov2WithRegisters,
  dinov3_convnext: async () => (await import('../families/dinov3ConvNext')).dinov3ConvNext,
  dinov3_vit: async () => (await import('../families/dinov3')).dinov3,
  distilbert: async () => (await import('../families/distilbert')).distilbert,
  efficientnet: async () => (await import('../families/efficientnet')).efficientnet,
  electra: async () => (await import('../families/electra')).electra,
  gemma: async () => (await import('../families/gemma')).gemma,
  gemma2: async () => (await import('../families/gemma2')).gemma2,
  gemma3: async () => (await import('../families/gemma3Whole')).gemma3Whole,
  gemma3_text: async () => (await import('../families/gemma3')).gemma3,
  gpt2: async () => (await import('../families/gpt2')).gpt2,
  gpt_neox: async () => (await import('../families/gptNeoX')).gptNeoX,
  granite: async () => (await import('../families/granite')).granite,
  gte: async () => (await import('../families/gte')).gte,
  hubert: async () => (await import('../families/wav2vec2')).hubert,
  lfm2: async () => (await import('../families/lfm2')).lfm2,
  llama: async () => (await import('../families/llama')).llama,
  mistral: async () => (await import('../families/mistral')).mistral,
  mobilebert: async () => (await import('../families/mobilebert')).mobilebert,
  mobilenet_v2: async () => (await import('../families/mobilenetV2')).mobilenetV2,
  mobilevit: async () => (await import('../families/mobilevit')).mobilevit,
  mpnet: async () => (await import('../families/mpnet')).mpnet,
  modernbert: async () => (await import('../families/modernbert')).modernbert,
  new: async () => (await import('../families/new')).newType,
  nomic_bert: async () => (await import('../families/nomicBert')).nomicBert,
  olmo2: async () => (await import('../families/olmo2')).olmo2,
  olmo3: async () => (await import('../families/olmo3')).olmo3,
  opt: async () => (await import('../families/opt')).opt,
  phi: async () => (await import('../families/phi')).phi,
  phi3: async () => (await import('../families/phi3')).phi3,
  qwen2: async () => (await import('../families/qwen2')).qwen2,
  qwen3: async () => (await import('../families/qwen3')).qwen3,
  resnet: async () => (await import('../families/resnet')).resnet,
  roberta,
  segformer: async () => (await import('../families/segformer')).segformer,
  siglip: async asked => {
    const {siglip, siglipText} = await import('../families/siglip');
    return asked?.startsWith('SiglipText') === true ? siglipText : siglip;
  },
  siglip2: async asked => {
    const {siglip2, siglip2Text} = await import('../families/siglip2');
    return asked?.startsWith('Siglip2Text') === true ? siglip2Text : siglip2;
  },
  siglip2_text_model: async () => (await import('../families/siglip2')).siglip2Text,
  siglip2_vision_model: async () => (await import('../families/siglip2')).siglip2,
  siglip_text_model: async () => (await import('../families/siglip')).siglipText,
  siglip_vision_model: async () => (await import('../families/siglip')).siglip,
  smollm3: async () => (await import('../families/smollm3')).smollm3,
  swin: async () => (await import('../families/swin')).swin,
  swinv2: async () => (await import('../families/swin')).swinV2,
  t5: async () => (await import('../families/t5')).t5,
  wav2vec2: async () => (await import('../families/wav2vec2')).wav2vec2,
  whisper: async () => (await import('../families/whisper')).whisper,
  vit: async () => (await import('../families/vit')).vit,
  'xlm-roberta': roberta,
  'xlm-roberta-xl': async () => (await import('../families/xlmRobertaXL')).xlmRobertaXL,
};

/** What the caller chooses beyond the config. */
interface PurposeOptions {
  architecture?: string;
  labels?: number | readonly string[];
  pooling?: Pooling;
  tokenTypes?: boolean;
  outputs?: readonly string[];
}

const POOLINGS: readonly Pooling[] = ['none', 'mean', 'first', 'last', 'pooler'];

/** The family of a model, and what of it is loaded. */
interface Chosen {
  architecture: Architecture;
  purpose: Purpose;
  /** The config under the names of the family. */
  config: HubConfig;
  /** The config of what is loaded: that of the model, or of its text part. */
  hubConfig: HubConfig;
}

/**
 * Finds the family of a model and resolves the caller's options.
 *
 * @throws LoRAError if the model is not supported, or an option does not match it.
 */
export async function chooseArchitecture(
  fileConfig: HubConfig,
  {architecture: asked, labels: countOrNames, pooling = 'none', tokenTypes = false, outputs}: PurposeOptions,
): Promise<Chosen> {
  const type = fileConfig.get('model_type');
  const load = typeof type === 'string' && Object.hasOwn(ARCHITECTURES, type) ? ARCHITECTURES[type] : undefined;
  if (load === undefined) {
    throw unsupportedError(
      `The config has model_type ${show(type)}, which is not supported. Supported: ` +
        `${Object.keys(ARCHITECTURES).join(', ')}.`,
    );
  }
  const [first] = [fileConfig.get('architectures')].flat();
  const architecture = await load(asked ?? (typeof first === 'string' ? first : undefined));
  const hubConfig = architecture.textPart?.(fileConfig) ?? fileConfig;
  const [named] = [hubConfig.get('architectures')].flat();
  const {classes, commonNames = {}} = architecture;
  const config = hubConfig.named(commonNames);
  const isKnown = typeof named !== 'string' || Object.hasOwn(classes, named);
  const ofFile = typeof named === 'string' && isKnown ? classes[named] : 'none';
  const labelNames = Array.isArray(countOrNames) ? (countOrNames as readonly string[]) : undefined;
  const labels = labelNames?.length ?? (countOrNames as number | undefined);
  const faults: string[] = labelNames === undefined ? [] : nameFaults(labelNames);
  if (!isKnown && asked === undefined && labels === undefined && pooling === 'none' && outputs === undefined) {
    faults.push(
      `The config names the class ${show(named)}, which is not supported. Supported: ` +
        `${listed(Object.keys(classes), 20)}. ${bodyAlone(architecture)}.`,
    );
  }
  if (asked !== undefined && !Object.hasOwn(classes, asked)) {
    faults.push(`architecture must be one of ${listed(Object.keys(classes))}, got ${show(asked)}.`);
  }
  if (labels !== undefined && (!Number.isInteger(labels) || labels < 1)) {
    faults.push(`labels must be a positive integer or a list of names, got ${show(countOrNames)}.`);
  }
  if (!POOLINGS.includes(pooling)) {
    faults.push(`pooling must be one of ${POOLINGS.map(show).join(', ')}, got ${show(pooling)}.`);
  }
  faults.push(...outputFaults(outputs, {pooling, labels}));
  // With pooling or stages, the body is meant.
  const isBody = pooling !== 'none' || outputs !== undefined;
  const unasked = labels !== undefined ? 'classes' : isBody ? 'none' : ofFile;
  const head: Head = (asked === undefined ? undefined : classes[asked]) ?? unasked ?? 'none';
  if (pooling !== 'none' && head !== 'none') {
    const plain = Object.keys(classes).find(name => classes[name] === 'none') ?? '';
    faults.push(
      `A model with a head has no pooling. Leave out pooling, or the head with {architecture: ${show(plain)}}.`,
    );
  }
  if (outputs !== undefined && labels === undefined && head !== 'none') {
    faults.push('outputs is for a model without a head. Leave out architecture, or choose the body.');
  }
  const number = Object.values(classes).includes(head) ? NEW_HEADS[head] : undefined;
  if (labels !== undefined && number === undefined) {
    faults.push('labels needs a head for classes, characters, spans or choices; the architecture has none.');
  } else if (labels !== undefined && number !== Infinity && labels !== number) {
    faults.push(`labels must be ${number} for a new head of this architecture, got ${show(labels)}.`);
  }
  throwFaults(faults);
  config.expect('quantization_config', null);
  config.expect('per_layer_config', null);
  const counted = labels ?? (head === 'choices' ? 1 : labelsOf(config));
  if (head === 'spans' && counted !== 2) {
    config.fault(`num_labels must be 2, a start and an end, got ${counted}.`);
  }
  const isNew = labels !== undefined;
  const names = head === 'ctc' ? undefined : labelNames; // characters are in the tokenizer
  return {
    architecture,
    purpose: {head, pooling, labels: counted, labelNames: names, isNew, tokenTypes, outputs},
    config,
    hubConfig,
  };
}

/** Faults of the names of stages that were chosen as outputs. */
function outputFaults(outputs: unknown, {pooling, labels}: {pooling: Pooling; labels: number | undefined}): string[] {
  if (outputs === undefined) {
    return [];
  }
  const isList =
    Array.isArray(outputs) && outputs.length > 0 && outputs.every((name, i) => outputs.indexOf(name) === i);
  return [
    ...(isList
      ? []
      : [`outputs must be a list of distinct stages, such as ['stage2', 'stage4'], got ${show(outputs)}.`]),
    ...(pooling === 'none' && labels === undefined ? [] : ['outputs cannot be combined with pooling or labels.']),
  ];
}

function nameFaults(names: readonly unknown[]): string[] {
  const wrong = names.find((name, i) => typeof name !== 'string' || name === '' || names.indexOf(name) !== i);
  return wrong === undefined ? [] : [`The names in labels must be distinct strings, got ${show(wrong)}.`];
}

/** The number of classes of the head in the file. If a config has both fields, transformers uses the number. */
function labelsOf(config: HubConfig): number {
  const names = config.get('id2label') ?? {};
  if (typeof names !== 'object' || Array.isArray(names)) {
    config.fault(`id2label must be an object, got ${show(names)}.`);
  }
  return config.count('num_labels', Object.keys(names).length || 2);
}
