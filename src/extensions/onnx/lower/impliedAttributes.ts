/** Operation → attributes that need no reading: inputs and outputs imply them, or refused features use them. */
const IMPLIED_ATTRIBUTES: Readonly<Record<string, string>> = {
  // For the standard operation and that of com.microsoft. The inputs for caches and rotations are refused.
  Attention:
    'q_num_heads kv_num_heads qk_matmul_output_mode softmax_precision mask_filter_value past_present_share_buffer ' +
    'rotary_embedding_dim',
  AveragePool: 'kernel_shape',
  BatchNormalization: 'momentum',
  Cast: 'saturate round_mode',
  Concat: 'axis',
  Conv: 'kernel_shape',
  ConvTranspose: 'kernel_shape',
  DequantizeLinear: 'axis output_dtype',
  Dropout: 'ratio seed',
  GRU: 'activation_alpha activation_beta',
  GroupNormalization: 'stash_type',
  GroupQueryAttention: 'kv_cache_bit_width qk_output',
  LSTM: 'activation_alpha activation_beta',
  LayerNormalization: 'stash_type',
  MatMulNBits: 'accuracy_level',
  MaxPool: 'storage_order',
  MultiHeadAttention: 'mask_filter_value',
  QuantizeLinear: 'axis block_size output_dtype precision saturate',
  RMSNormalization: 'stash_type',
  RNN: 'activation_alpha activation_beta',
  Resize: 'cubic_coeff_a extrapolation_value',
  RotaryEmbedding: 'rotary_embedding_dim',
  SimplifiedLayerNormalization: 'stash_type',
  Split: 'num_outputs',
  TopK: 'sorted',
};

/** Whether a rule need not read an attribute of its operation. */
export function isImplied(op: string, attribute: string): boolean {
  return Object.hasOwn(IMPLIED_ATTRIBUTES, op) && IMPLIED_ATTRIBUTES[op]?.split(' ').includes(attribute) === true;
}
