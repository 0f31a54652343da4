import {clip, wav} from '../../extensions/sound/clips';

export const preprocessor = {feature_extractor_type: 'ASTFeatureExtractor', max_length: 10};

export const file = new Blob([wav({data: new Uint8Array(4000)}).slice()]);
export const recordings = [file, clip(0)];
