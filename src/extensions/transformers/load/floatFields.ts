// Written by test/python/make_floats.py, from the configs of transformers 5.24.0.

/** Fields of configs that are floats in every family that has them. */
export const FLOATS: ReadonlySet<string> = new Set([
  ...['activation_dropout', 'aspp_dropout_prob', 'attention_dropout', 'attention_factor', 'attention_multiplier'],
  ...['attention_probs_dropout_prob', 'attn_logit_softcapping', 'attn_pdrop', 'auxiliary_loss_weight'],
  ...['batch_norm_eps', 'batch_norm_momentum', 'beta_fast', 'beta_slow', 'block_ffn_dim_multiplier'],
  ...['classifier_dropout', 'classifier_dropout_prob', 'contrastive_logits_temperature', 'decoder_layerdrop'],
  ...['depth_coefficient', 'depth_multiplier', 'diversity_loss_weight', 'drop_connect_rate', 'drop_path_rate'],
  ...['dropout', 'dropout_rate', 'embd_pdrop', 'embedding_dropout', 'embedding_multiplier', 'encoder_layerdrop'],
  ...['expand_ratio', 'factor', 'feat_proj_dropout', 'feat_quantizer_dropout', 'final_dropout'],
  ...['final_logit_softcapping', 'hidden_dropout', 'hidden_dropout_prob', 'high_freq_factor', 'init_std'],
  ...['initializer_cutoff_factor', 'initializer_factor', 'initializer_range', 'layer_norm_eps'],
  ...['layer_norm_epsilon', 'layer_scale_init_value', 'layerdrop', 'layerscale_value', 'logit_scale_init_value'],
  ...['logits_scaling', 'long_factor', 'low_freq_factor', 'mask_feature_prob', 'mask_time_prob', 'mlp_dropout'],
  ...['mscale', 'mscale_all_dim', 'norm_eps', 'partial_rotary_factor', 'pooler_dropout', 'pos_embed_jitter'],
  ...['pos_embed_rescale', 'pos_embed_shift', 'qa_dropout', 'resid_pdrop', 'residual_multiplier', 'rms_norm_eps'],
  ...['rope_theta', 'seq_classif_dropout', 'short_factor', 'squeeze_expansion_ratio', 'summary_first_dropout'],
  ...['summary_last_dropout', 'width_coefficient'],
]);

/** Fields that are floats in some families, which are listed, and integers in others. */
export const FLOATS_OF: ReadonlyMap<string, readonly string[]> = new Map([
  ['mlp_ratio', ['mobilevit', 'swin', 'swinv2']],
]);
