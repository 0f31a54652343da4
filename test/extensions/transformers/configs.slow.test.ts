import {LoRAError} from 'tfjs-lora';
import {useBackend, withoutLeaks} from '../../helpers';
import {areClose, computed, configsOf, FAMILIES, faultOf, FEATURES, PAIRS, SOUNDS, VISION} from './configs';

/**
 * What transformers looks up and no prediction depends on, so that nothing here reads it: the rates of dropout, what
 * training and generation need, how a model is spread over machines, what is put out beside the result, and where files
 * are.
 */
const HARMLESS = [
  ...['attention_probs_dropout_prob', 'hidden_dropout_prob', 'classifier_dropout', 'dropout', 'attention_dropout'],
  ...[
    'classifier_dropout_prob',
    'summary_last_dropout',
    'qa_dropout',
    'seq_classif_dropout',
    'attn_pdrop',
    'embd_pdrop',
    'resid_pdrop',
  ],
  ...['bos_token_id', 'eos_token_id', 'sep_token_id', 'label2id', 'problem_type', 'gradient_checkpointing'],
  ...['use_cache', 'is_encoder_decoder', 'attention_chunk_size', 'kv_sharing_modes'],
  ...['base_model_ep_plan', 'base_model_fsdp_plan', 'base_model_pp_plan', 'base_model_tp_plan', 'fusion_config'],
  ...['output_attentions', 'output_cross_attentions', 'output_hidden_states', 'return_dict'],
  ...['name_or_path', 'transformers_version', 'transformers_weights', 'gguf_file', 'auto_map', 'dtype', 'torch_dtype'],
  ...['chunk_size_feed_forward', 'reorder_and_upcast_attn', 'pretraining_tp', 'sinusoidal_pos_embds', 'pruned_heads'],
  ...['summary_activation', 'summary_first_dropout', 'summary_proj_to_labels', 'summary_type', 'summary_use_proj'],
  ...['mtp_layer_types', 'mlp_layer_types', 'is_heterogeneous', 'sub_configs_defaults'],
  ...['default_rope_type', 'default_theta', 'ignore_keys_at_rope_validation'],
  ...['vision_aspect_ratio', 'vision_feature_layer', 'vision_feature_select_strategy'],
];
/** What is harmless in some families alone. */
const ALSO_HARMLESS: Readonly<Record<string, string[]>> = {
  encoder: ['is_causal', 'tie_word_embeddings', 'text_config', 'decoder', 'generator'],
  bert: ['pad_token_id'],
  electra: ['pad_token_id'],
  albert: ['pad_token_id'],
  nomic_bert: ['pad_token_id'],
  gte: ['pad_token_id'],
  new: ['pad_token_id'],
  distilbert: ['pad_token_id'],
  mobilebert: ['pad_token_id'],
  gpt_neox: ['hidden_dropout', 'is_decoder'],
  granite: ['pad_token_id'], // it has no head for classes
  lfm2: ['pad_token_id'],
  opt: ['init_std', 'layerdrop'],
  deberta: ['pad_token_id', 'cls_dropout', 'pooler_dropout', 'legacy'],
  'deberta-v2': ['pad_token_id', 'cls_dropout', 'pooler_dropout', 'legacy'],
  // Of its head for each pixel, which is not loaded, and of pretraining.
  beit: [
    ...['auxiliary_channels', 'auxiliary_concat_input', 'auxiliary_loss_weight', 'auxiliary_num_convs', 'add_fpn'],
    ...['pool_scales', 'reshape_hidden_states', 'semantic_loss_ignore_index', 'use_auxiliary_head', 'vocab_size'],
  ],
  'audio-spectrogram-transformer': ['vocab_size'],
  efficientnet: ['batch_norm_momentum', 'drop_connect_rate', 'dropout_rate', 'num_hidden_layers'],
  mobilenet_v2: ['semantic_loss_ignore_index'],
  mobilevit: ['aspp_dropout_prob', 'aspp_out_channels', 'atrous_rates', 'semantic_loss_ignore_index'],
  segformer: ['classifier_dropout_prob', 'layer_norm_eps', 'semantic_loss_ignore_index'],
  t5: ['pad_token_id', 'dropout_rate', 'initializer_factor', 'num_decoder_layers'],
  modernbert: [
    ...['cls_token_id', 'embedding_dropout', 'mlp_dropout', 'deterministic_flash_attn'],
    ...['initializer_cutoff_factor', 'sparse_prediction', 'sparse_pred_ignore_index', 'decoder_bias'],
  ],
};
/** What no model for images computes with, and what its pooler alone does. */
const HARMLESS_IN_VISION = [
  ...['initializer_range', 'initializer_factor', 'layerscale_value', 'drop_path_rate', 'use_mask_token'],
  ...['pooler_output_size', 'pooler_act', 'vision_use_head', 'pad_token_id', 'tie_word_embeddings'],
  ...['text_config', 'decoder', 'generator', 'out_features', 'out_indices', 'return_class_token'],
];
/** What is harmless in encoders with stages alone: the size of images, and what their names of fields are. */
const HARMLESS_IN_FEATURES = ['image_size', 'layer_scale_init_value', 'stage_names'];
/** Families whose tables may be narrower than their blocks. */
const HAS_TABLE_WIDTH = ['electra', 'albert', 'mobilebert', 'deberta', 'deberta-v2', 'resnet'];
/** What is read in some families alone, and harmless in the others. */
const OF_ROTARY = ['rope_parameters', 'rope_scaling', 'rope_theta', 'partial_rotary_factor', 'head_dim'];
const OF_WINDOWS = ['sliding_window', 'layer_types', 'use_sliding_window', 'max_window_layers'];
const WITHOUT_ROTARY = [
  'bert',
  'roberta',
  'xlm-roberta',
  'electra',
  'albert',
  'distilbert',
  'gpt2',
  'opt',
  't5',
  'deberta',
  'deberta-v2',
  'xlm-roberta-xl',
  'mobilebert',
];
const READ: Readonly<Record<string, string[]>> = {
  gemma: ['use_bidirectional_attention'],
  gemma2: ['sliding_window', 'layer_types', 'use_bidirectional_attention'],
  gemma3_text: ['sliding_window', 'layer_types', 'use_bidirectional_attention'],
  lfm2: ['layer_types'],
  olmo3: ['sliding_window', 'layer_types'],
  mistral: ['sliding_window', 'layer_types'],
  modernbert: ['sliding_window', 'layer_types', 'is_causal'],
  phi3: ['sliding_window'],
  clip_text_model: ['eos_token_id'],
  clip: ['text_config'],
  siglip: ['text_config'],
  siglip2: ['text_config'],
  dinov3_vit: ['rope_theta'],
  convnext: ['layer_scale_init_value'],
  swin: ['image_size'],
  swinv2: ['image_size'],
  qwen2: OF_WINDOWS,
  qwen3: OF_WINDOWS,
  smollm3: OF_WINDOWS.slice(0, -1),
  ...Object.fromEntries(
    ['t5', 'vit', 'deit', 'beit', 'audio-spectrogram-transformer', 'dinov2', 'dinov2_with_registers'].map(family => [
      family,
      ['head_dim'],
    ]),
  ),
};
/** Python tells 1 from 1.0, and refuses one of them. JSON has one number for both. */
const FLOATS = [
  'mlp_ratio',
  'expand_ratio',
  'width_coefficient',
  'depth_coefficient',
  'squeeze_expansion_ratio',
  'batch_norm_eps',
  'layer_scale_init_value',
  'layer_norm_eps',
  'layer_norm_epsilon',
  'rms_norm_eps',
  'norm_eps',
  'initializer_range',
  'rope_theta',
  'attn_logit_softcapping',
  'final_logit_softcapping',
];

/** Encoders of texts that are trained with images. */
const OF_PAIRS = ['clip_text_model', 'siglip_text_model', ...PAIRS];
const HARMLESS_IN_PAIRS = [
  ...['initializer_range', 'initializer_factor', 'pad_token_id', 'text_config', 'projection_size'],
  ...['decoder', 'generator', 'logit_scale_init_value'],
];
const ENCODERS = [
  ...['bert', 'roberta', 'xlm-roberta', 'electra', 'albert', 'nomic_bert', 'distilbert', 'modernbert', 't5'],
  ...['deberta-v2', 'gte', 'new', 'deberta', 'xlm-roberta-xl', 'mobilebert'],
];

/** What no prediction of a model that hears depends on: training, generation, and heads that are not tried. */
const HARMLESS_IN_SOUNDS = [
  ...['activation_dropout', 'encoder_layerdrop', 'decoder_layerdrop', 'init_std', 'initializer_range', 'pad_token_id'],
  ...['apply_spec_augment', 'mask_feature_length', 'mask_feature_min_masks', 'mask_feature_prob', 'mask_time_length'],
  ...['mask_time_min_masks', 'mask_time_prob', 'median_filter_width', 'suppress_tokens', 'begin_suppress_tokens'],
  ...['hidden_dropout', 'feat_proj_dropout', 'feat_quantizer_dropout', 'final_dropout', 'layerdrop', 'num_negatives'],
  ...['codevector_dim', 'contrastive_logits_temperature', 'diversity_loss_weight', 'num_codevector_groups'],
  ...['num_codevectors_per_group', 'proj_codevector_dim', 'tdnn_dim', 'tdnn_kernel', 'tdnn_dilation'],
  ...['xvector_output_dim', 'ctc_loss_reduction', 'ctc_zero_infinity', 'adapter_kernel_size', 'adapter_stride'],
  ...['num_adapter_layers', 'output_hidden_size', 'num_feat_extract_layers'],
  ...[
    'decoder_start_token_id',
    'classifier_proj_size',
    'use_weighted_layer_sum',
    'text_config',
    'decoder',
    'generator',
  ],
];

function isDecoder(family: string): boolean {
  return ![...ENCODERS, ...VISION, ...SOUNDS].includes(family);
}

function harmlessIn(family: string): Set<string> {
  const ofRotary = [...WITHOUT_ROTARY, ...VISION, ...OF_PAIRS, ...SOUNDS].includes(family)
    ? [...OF_ROTARY, 'original_max_position_embeddings']
    : [];
  const read = READ[family] ?? [];
  return new Set([
    ...[...HARMLESS, ...(OF_PAIRS.includes(family) ? HARMLESS_IN_PAIRS : [])].filter(key => !read.includes(key)),
    ...(isDecoder(family) || [...VISION, ...SOUNDS].includes(family)
      ? []
      : ALSO_HARMLESS.encoder!.filter(key => !read.includes(key))),
    ...[...ofRotary, ...OF_WINDOWS, 'use_bidirectional_attention'].filter(key => !read.includes(key)),
    ...(FEATURES.includes(family) ? HARMLESS_IN_FEATURES.filter(key => !read.includes(key)) : []),
    ...(HAS_TABLE_WIDTH.includes(family) ? [] : ['embedding_size']),
    ...(VISION.includes(family) ? HARMLESS_IN_VISION : []),
    ...(SOUNDS.includes(family) ? HARMLESS_IN_SOUNDS : []),
    ...(ALSO_HARMLESS[family] ?? []),
  ]);
}

beforeAll(() => useBackend('wasm'));

describe.each(FAMILIES)('configs of %s', family => {
  const {cases, settings} = configsOf(family);

  test('are computed as PyTorch computes them, or refused if they are strange', async () => {
    const faults: string[] = [];
    let loaded = 0;
    await withoutLeaks(async () => {
      for (const each of cases) {
        const result = await computed(each);
        loaded += result instanceof LoRAError ? 0 : 1;
        const fault = faultOf(each, result);
        if (fault !== undefined) {
          faults.push(`seed ${each.seed}, ${each.architecture} ${JSON.stringify(each.config)}: ${fault}`);
        }
      }
    });
    expect(faults).toEqual([]);
    expect(loaded).toBeGreaterThan(0.6 * cases.length);
  });

  test('have no setting that changes what transformers computes, and is not read', async () => {
    const {values, config, tried, outcomes} = settings;
    const harmless = harmlessIn(family);
    const become = async (key: string, value: unknown) => {
      const result = await computed(settings, {config: {...config, [key]: value}});
      return result instanceof LoRAError ? 'refused' : areClose(result, values!) ? 'same' : 'other';
    };
    const faults: string[] = [];
    for (const [key, all] of Object.entries(outcomes)) {
      for (const [i, expected] of all.entries()) {
        const value = tried[i];
        const hasNoOther = FLOATS.includes(key) && Number.isInteger(value);
        // For several texts transformers wants a token that fills up. Here the mask tells.
        const isLoadedHere = key === 'pad_token_id' && value === null && isDecoder(family);
        if (hasNoOther || isLoadedHere) {
          continue;
        }
        const outcome = harmless.has(key) ? 'same' : await become(key, value);
        const isRight = outcome === 'refused' || outcome === expected || (harmless.has(key) && expected !== 'other');
        if (!isRight) {
          faults.push(`${key} ${JSON.stringify(value)}: ${outcome}, in transformers ${expected}`);
        }
      }
    }
    expect(faults).toEqual([]);
    const odd = Object.fromEntries([...harmless].map(key => [key, 'x']));
    expect(faultOf(settings, await computed(settings, {config: {...config, ...odd}}))).toBeUndefined();
  });
});
