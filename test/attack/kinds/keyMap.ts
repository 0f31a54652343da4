import {loadAdapter, type KeyMap} from 'tfjs-lora';
import {KEY_MAP, peftFiles, smallNetwork} from '../../peftNetworks';
import type {AttackKind} from '../kind';
import {applied} from './models';

/** A table of names, beside a PEFT adapter that is whole. */
export const keyMap: AttackKind = {
  name: 'a key map',
  prepare() {
    const {model, inputs} = smallNetwork();
    const files = peftFiles('lora');
    const stars = {'*': '*', '*a*a*a*a*b': '*_*_*_*_*', 'net.*.*': '*/*', fc1: 'fc1'};
    return {
      whole: [{keyMap: KEY_MAP}, {keyMap: {...KEY_MAP, ...stars}}],
      models: [model],
      async use(parts) {
        const adapter = await loadAdapter(files, {model, keyMap: parts.keyMap as unknown as KeyMap});
        try {
          applied(model, adapter, inputs);
        } finally {
          adapter.dispose();
        }
      },
    };
  },
};
