import {loadAdapter, saveAdapter, disposeModel} from 'tfjs-lora';
import {type AttackKind, type Json, mustHold, type Parts} from '../kind';
import {type AdaptedModels, applied, baseInputs, baseModel, isIn, savedParts} from './models';

interface Spec {
  name: string;
  shape: number[];
}

/** Adapters of models as JSON and weights. */
export const adapterJson = (of: string, adaptedModels: AdaptedModels): AttackKind => ({
  name: `adapter.json and its weights${of}`,
  async prepare() {
    const base = baseModel();
    const inputs = baseInputs();
    const whole: Parts[] = [];
    for (const model of adaptedModels(base)) {
      const {json, weights} = await savedParts(handler => saveAdapter(model, handler));
      whole.push({topology: json.modelTopology as Json, specs: json.weightSpecs as unknown as Json, weights});
      disposeModel(model);
    }
    return {
      whole,
      models: [base],
      async use({topology, specs, weights}) {
        const weightData = (weights as Uint8Array).slice().buffer;
        const load = () =>
          Promise.resolve({modelTopology: topology as object, weightSpecs: specs as unknown as never, weightData});
        const adapter = await loadAdapter({load});
        try {
          let offset = 0;
          for (const {name, shape} of specs as unknown as Spec[]) {
            const size = shape.reduce((product, axis) => product * axis, 1);
            const expected = new Float32Array(weightData.slice(offset, offset + 4 * size));
            mustHold(isIn(adapter, name, expected), `${name} is not what the file says.`);
            offset += 4 * size;
          }
          applied(base, adapter, inputs);
        } finally {
          adapter.dispose();
        }
      },
    };
  },
});
