import {importPEFT} from 'tfjs-lora';
import {KEY_MAP, peftFiles, smallNetwork} from '../../peftNetworks';
import type {AttackKind, Json, Parts} from '../kind';
import {applied} from './models';
import {fileOf, partsOf} from './safetensorsParts';

const FOLDERS = ['lora', 'rslora', 'modules_to_save', 'bias_lora_only'];

/** A PEFT adapter: its config and its safetensors file. */
export const peft: AttackKind = {
  name: 'adapter_config.json and adapter_model.safetensors',
  prepare() {
    const {model, inputs} = smallNetwork();
    const whole = FOLDERS.flatMap((folder): Parts[] => {
      const {config, weights} = peftFiles(folder);
      const text = typeof config === 'string' ? config : JSON.stringify(config);
      const fields = JSON.parse(text) as {[key: string]: Json};
      const patterns = {
        rank_pattern: {...(fields.rank_pattern as object), 'no.*such(one)+': 3, '[^f]{2}x': 2},
        alpha_pattern: {...(fields.alpha_pattern as object), '^fc[12]$': 8},
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
      use({config, text, ...rest}) {
        const written = text === undefined ? JSON.stringify(config) : new TextDecoder().decode(text as Uint8Array);
        const adapter = importPEFT({config: written, weights: fileOf(rest)}, model, {keyMap: KEY_MAP});
        try {
          applied(model, adapter, inputs[0]!);
        } finally {
          adapter.dispose();
        }
        return Promise.resolve();
      },
    };
  },
};
