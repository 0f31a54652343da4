import {readFileSync} from 'node:fs';
import {LoRAError} from 'tfjs-lora';
import {computedHeader, headerFault, headerOf, HEADERS} from '../../extensions/language/ggufHeaders';
import {below, pick} from '../damage';
import {type AttackKind, mustHold} from '../kind';

/** GGUF files with random settings, which give what llama.cpp gave, however they are read, or are refused. */
export const ggufHeader: AttackKind = {
  name: 'the settings of a GGUF file',
  prepare() {
    const references = JSON.parse(readFileSync(HEADERS, 'utf8')) as Record<string, number[] | null>;
    const seeds = Object.keys(references);
    return {
      whole: [],
      make: random => ({
        seed: Number(seeds[below(random, seeds.length)]),
        form: pick(random, ['bytes', 'blob', 'stream']),
      }),
      models: [],
      async use({seed, form}) {
        const {family, file} = headerOf(seed as number);
        const source = form === 'bytes' ? file : form === 'blob' ? new Blob([file]) : new Response(file);
        const result = await computedHeader(source);
        const fault = headerFault(result, references[seed as number] ?? null);
        mustHold(fault === undefined, `${family}, seed ${seed as number}: ${fault}`);
        if (result instanceof LoRAError) {
          throw result;
        }
      },
    };
  },
};
