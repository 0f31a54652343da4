import {disposeModel, getAdapter, loadAdapter, toSafetensors} from 'tfjs-lora';
import {type AttackKind, type Json, mustHold, type Parts} from '../kind';
import {type AdaptedModels, applied, baseInputs, baseModel, isIn} from './models';
import {fileOf, type Header, partsOf} from './safetensorsParts';

/** The header of an adapter, with its config as JSON instead of as text. */
function opened(parts: Parts): Parts {
  const {header, ...rest} = parts;
  const {__metadata__: metadata, ...entries} = header as {__metadata__: {config: string}};
  const {config, ...others} = metadata;
  return {config: JSON.parse(config) as Json, header: {...entries, __metadata__: others}, ...rest};
}

function closed({config, ...rest}: Parts): Parts {
  if (config === undefined) {
    return rest;
  }
  const {header, ...others} = rest as {header: Json} & Parts;
  const fields = header as {__metadata__?: Json} | null;
  const metadata = fields?.__metadata__;
  return typeof metadata === 'object' && metadata !== null && !Array.isArray(metadata)
    ? {header: {...(fields as object), __metadata__: {...metadata, config: JSON.stringify(config)}}, ...others}
    : {header, ...others};
}

/** Adapters of models as one safetensors file each. */
export const adapterSafetensors = (of: string, adaptedModels: AdaptedModels): AttackKind => ({
  name: `adapter.safetensors${of}`,
  async prepare() {
    const base = baseModel();
    const inputs = baseInputs();
    const whole: Parts[] = [];
    for (const [i, model] of adaptedModels(base).entries()) {
      const adapter = getAdapter(model);
      const bytes = await toSafetensors(adapter, {dtype: i === 1 ? 'float16' : 'float32'});
      whole.push(opened(partsOf(bytes)), {file: bytes});
      adapter.dispose();
      disposeModel(model);
    }
    return {
      whole,
      models: [base],
      async use(parts) {
        const file = fileOf(closed(parts));
        const adapter = await loadAdapter(file);
        try {
          const {header, data} = partsOf(file) as {header: Header; data: Uint8Array};
          for (const [name, {dtype, data_offsets: offsets}] of Object.entries(header)) {
            if (name !== '__metadata__' && dtype === 'F32') {
              const expected = new Float32Array(data.slice(...offsets).buffer);
              mustHold(isIn(adapter, name, expected), `${name} is not what the file says.`);
            }
          }
          applied(base, adapter, inputs);
        } finally {
          adapter.dispose();
        }
      },
    };
  },
});
