import type {GraphModelOptions} from 'tfjs-lora/graph';

const ENCODER = 'module_apply_default/Encoder_en/KonaTransformer/Encode/';
const BOXES = 'WeightSharedConvolutionalBoxPredictor/WeightSharedConvolutional';
const RESIZED = 'matting_network_wrapper/cond/output/_660';
const IMAGES = 'map/TensorArrayV2Stack/TensorListStack';

const WORDS = 'dnn/input_from_feature_columns/input_layer/content_embedding_1/content_embedding_weights';

/** The detector of hands and faces that several packages have, for pictures of a size. */
function detector(size: number): GraphModelOptions {
  return {
    inputs: [IMAGES],
    inputShapes: {[IMAGES]: [size, size, 3]},
    outputs: ['', '_1', '_2', '_3', '_4'].flatMap(suffix => [
      `${BOXES}ClassHead/ClassPredictor/BiasAdd${suffix}`,
      `${BOXES}BoxHead/BoxPredictor/BiasAdd${suffix}`,
    ]),
  };
}

/** The parts of graphs that are imported, where the whole graph cannot be. */
export const CUTS: Readonly<Record<string, GraphModelOptions>> = {
  handtrack: detector(320),
  'handtrackjs-320': detector(320),
  'handtrackjs-640': detector(640),
  languagedetection: {inputs: [WORDS], inputShapes: {[WORDS]: [70]}, outputs: ['dnn/logits/BiasAdd']},
  faceboxes: {
    inputShapes: {image_tensor: [256, 256, 3]},
    outputs: ['postprocessing/strided_slice_2', 'postprocessing/clip_by_value_1'],
  },
  'use-lite': {
    inputs: [`${ENCODER}SparseToDense`, `${ENCODER}Scatter/ScatterNd`],
    inputShapes: {[`${ENCODER}SparseToDense`]: [null], [`${ENCODER}Scatter/ScatterNd`]: [null, 256]},
  },
  rvm: {
    inputs: [RESIZED, 'r1i', 'r2i', 'r3i', 'r4i'],
    inputShapes: {[RESIZED]: [256, 256, 3], r1i: [1, 1, 1], r2i: [1, 1, 1], r3i: [1, 1, 1], r4i: [1, 1, 1]},
    outputs: ['matting_network_wrapper/split:1', 'matting_network_wrapper/split'],
  },
};

/**
 * The parts that train, where that is not all that is imported. On noise this one ends in a sigmoid of −24 and
 * less, through which no gradient comes.
 */
export const TRAINED: Readonly<Record<string, GraphModelOptions>> = {
  selfie: {outputs: ['segment_add']},
};
