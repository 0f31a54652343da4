import type {PEFTForm} from './form';

/** Rows of single tokens, without any other update. Together with LoRA, they are in `trainable_token_indices`. */
export const trainableTokens: PEFTForm = {
  type: 'TRAINABLE_TOKENS',
  methods: [],
  axes: [2],
  tokens: 'token_indices',
  parameters: [],
  config: () => ({init_weights: true}),
};
