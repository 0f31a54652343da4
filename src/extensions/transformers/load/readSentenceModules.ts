import {damagedError, show, unsupportedError} from '../../../platform/errors';
import {readSafetensors} from '../../../platform/formats/readSafetensors';
import type {Values} from '../../../platform/formats/layout';
import {HubConfig} from '../net/hubConfig';
import {
  checkOrder,
  SENTENCE_ACTIVATIONS,
  type SentenceDense,
  type SentenceModules,
  type SentenceStep,
  type SentenceWeights,
  tensorsOf,
} from '../net/sentenceModules';
import type {StatePooling} from '../ops/poolStates';
import type {HubFiles} from './hubFolder';

/** Poolings by their names since version 6, in the order in which older versions joined them, and as flags before. */
const POOLINGS: readonly (readonly [name: string, flag: string, mode: StatePooling])[] = [
  ['cls', 'pooling_mode_cls_token', 'first'],
  ['max', 'pooling_mode_max_tokens', 'max'],
  ['mean', 'pooling_mode_mean_tokens', 'mean'],
  ['mean_sqrt_len_tokens', 'pooling_mode_mean_sqrt_len_tokens', 'meanSqrtLength'],
  ['weightedmean', 'pooling_mode_weightedmean_tokens', 'weightedMean'],
  ['lasttoken', 'pooling_mode_lasttoken', 'last'],
];

/**
 * The modules of a sentence-transformer in the folder of a model, as its `modules.json` says, with the config and the
 * weights of each.
 *
 * @throws LoRAError if a module is not supported, or a file is missing or damaged.
 */
export async function readSentenceModules(
  text: string,
  files: HubFiles,
  tokenizerConfig: Record<string, unknown> | undefined,
): Promise<{modules: SentenceModules; weights: SentenceWeights}> {
  const listed = HubConfig.parse(`{"modules": ${text}}`, 'modules.json').get('modules');
  if (!Array.isArray(listed)) {
    throw damagedError('modules.json is not a list.');
  }
  const steps: SentenceStep[] = [];
  const weights = new Map<string, Values>();
  for (const entry of listed as unknown[]) {
    const {type, path} = {...(entry as {type?: unknown; path?: unknown} | null)};
    const kind = String(type).split('.').at(-1);
    if (kind === 'Transformer' && steps.length === 0) {
      continue;
    }
    if (typeof path !== 'string' || !/^\w[\w.-]*$/.test(path)) {
      throw damagedError(`modules.json has the path ${show(path)}, which is not a folder beside it.`);
    }
    const config = HubConfig.parse((await files.textIn(`${path}/config.json`)) ?? '{}', path);
    const step = stepOf(kind, path, config);
    config.check();
    steps.push(step);
    if (step.kind === 'dense') {
      await readDense(files, step, weights);
    }
  }
  checkOrder(steps);
  const {max_seq_length: most = tokenizerConfig?.model_max_length} = HubConfig.parse(
    (await files.textIn('sentence_bert_config.json')) ?? '{}',
    'sentence_bert_config.json',
  ).asObject();
  // Tokenizers without a limit have 10^30.
  const maxLength = Number.isSafeInteger(most) && (most as number) > 0 ? {maxLength: most as number} : {};
  return {modules: {steps, ...maxLength}, weights};
}

function stepOf(kind: string | undefined, path: string, config: HubConfig): SentenceStep {
  switch (kind) {
    case 'Pooling':
      return poolingOf(config);
    case 'Dense':
      checkPlace(config);
      return {
        kind: 'dense',
        path,
        from: config.count('in_features'),
        to: config.count('out_features'),
        bias: config.flag('bias', true),
        activation: activationOf(config),
        residual: config.flag('use_residual', false),
      };
    case 'Normalize':
      checkPlace(config);
      return {kind: 'normalize'};
    default:
      throw unsupportedError(
        `modules.json has a module ${show(kind)}. Supported are Transformer, Pooling, Dense and Normalize.`,
      );
  }
}

function poolingOf(config: HubConfig): SentenceStep {
  const width = config.get('embedding_dimension') === undefined ? 'word_embedding_dimension' : 'embedding_dimension';
  const flagged = POOLINGS.filter(([, flag]) => config.get(flag) === true).map(([name]) => name);
  const names: unknown[] = [config.get('pooling_mode') ?? (flagged.length > 0 ? flagged : 'mean')].flat();
  const modes = names.flatMap(name => POOLINGS.find(([mode]) => mode === name)?.[2] ?? []);
  if (modes.length !== names.length || modes.length === 0) {
    config.fault(`pooling_mode is ${show(names)}; known are ${POOLINGS.map(([name]) => name).join(', ')}.`);
  }
  return {kind: 'pooling', modes, width: config.count(width)};
}

/** A module on the states of tokens, as for late interaction, is not one on the vector. */
function checkPlace(config: HubConfig): void {
  config.expect('module_input_name', 'sentence_embedding');
  config.expect('module_output_name', 'sentence_embedding', null);
}

function activationOf(config: HubConfig): SentenceDense['activation'] {
  const name = config.get('activation_function') ?? 'torch.nn.modules.activation.Tanh';
  const [, last = ''] = (typeof name === 'string' && /^torch\.nn\.(?:modules\.\w+\.)?(\w+)$/.exec(name)) || [];
  if (!Object.hasOwn(SENTENCE_ACTIVATIONS, last)) {
    config.fault(
      `activation_function is ${show(name)}; known are ${Object.keys(SENTENCE_ACTIVATIONS).join(', ')} of torch.nn.`,
    );
  }
  return SENTENCE_ACTIVATIONS[last as keyof typeof SENTENCE_ACTIVATIONS];
}

async function readDense(files: HubFiles, dense: SentenceDense, weights: Map<string, Values>): Promise<void> {
  const {path} = dense;
  const bytes = await files.bytesIn(`${path}/model.safetensors`);
  if (bytes === undefined) {
    const {PYTORCH_TO_SAFETENSORS} = await import('../../../platform/formats/otherFormats');
    throw unsupportedError(`${path} has no model.safetensors. ${PYTORCH_TO_SAFETENSORS}`);
  }
  const {tensors} = await readSafetensors(bytes);
  for (const [name, shape] of tensorsOf(dense)) {
    const tensor = tensors.get(name);
    if (tensor?.data == null || tensor.shape.join() !== shape.join()) {
      throw damagedError(`${path}/model.safetensors must have "${name}" of shape [${shape.join(', ')}].`);
    }
    weights.set(`${path}/${name}`, {shape, data: tensor.data});
  }
}
