import {loadAdapter} from 'tfjs-lora';
import {KEY_MAP, type Network, peftFiles} from '../../peftNetworks';
import type {AttackKind, Json, Parts} from '../kind';
import {applied} from './models';
import {fileOf, partsOf} from './safetensorsParts';

/** PEFT adapters of a network, by their folders: the config and the safetensors file of each. */
export const peft = (of: string, network: () => Network, folders: readonly string[][]): AttackKind => ({
  name: `adapter_config.json and adapter_model.safetensors${of}`,
  prepare() {
    const {model, inputs} = network();
    const whole = folders.flatMap((folder): Parts[] => {
      const {config, weights} = peftFiles(...folder);
      const text = typeof config === 'string' ? config : JSON.stringify(config);
      const fields = JSON.parse(text) as {[key: string]: Json};
      // Only methods that have a rank and an alpha to choose have patterns for them.
      const patterns = {
        ...('rank_pattern' in fields && {
          rank_pattern: {...(fields.rank_pattern as object), 'no.*such(one|two)': 3, '[^f]{2}x': 2},
        }),
        ...('alpha_pattern' in fields && {alpha_pattern: {...(fields.alpha_pattern as object), '^fc[12]$': 8}}),
      };
      return [
        {config: fields, ...partsOf(weights)},
        {config: {...fields, ...patterns}, ...partsOf(weights)},
        {text: new TextEncoder().encode(text), file: weights},
      ];
    });
    return {
      whole,
      models: [model],
      async use({config, text, ...rest}) {
        const written = text === undefined ? JSON.stringify(config) : new TextDecoder().decode(text as Uint8Array);
        const adapter = await loadAdapter({config: written, weights: fileOf(rest)}, {model, keyMap: KEY_MAP});
        try {
          applied(model, adapter, inputs);
        } finally {
          adapter.dispose();
        }
      },
    };
  },
});
