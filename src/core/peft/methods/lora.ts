import type {PEFTForm} from './form';

/** LoRA, and what computes with the same factors: DoRA, LoRA-FA, PiSSA and OLoRA. */
export const lora: PEFTForm = {
  type: 'LORA',
  methods: ['lora', 'lora-fa', 'dora', 'pissa', 'olora'],
  axes: [2, 3, 4, 5],
  everyKind: true,
  rank: 'r',
  alpha: 'lora_alpha',
  parameters: [],
  config: ({modules, r, alpha, stabilized, patterns, bias, fanInFanOut}) => ({
    ...patterns,
    bias,
    fan_in_fan_out: fanInFanOut,
    init_lora_weights: true,
    lora_alpha: alpha,
    lora_bias: false,
    lora_dropout: 0,
    r,
    use_dora: modules.some(({method}) => method === 'dora'),
    use_rslora: stabilized,
  }),
};
