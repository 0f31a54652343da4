// The entry point for images: pixels as tensors, as the preprocessor of a model of the hub makes them.

export {classifyImages, type ClassifyImagesOptions} from './extensions/images/classifyImages';
export {encodeImages, type EncodeImagesOptions} from './extensions/images/encodeImages';
export {type EncodedPatches, encodePatches, type EncodePatchesOptions} from './extensions/images/encodePatches';
export type {ClassScore} from './extensions/transformers/load/classes';
export type {ImageInput, ImagePixels} from './extensions/images/imagePixels';
