import {imageSizes} from './patchBlocks';
import {patches, patchSequence} from './patches';
import {siglipEncoders} from './siglipEncoder';
import {nameOf} from '../net/architecture';

/** SigLIP, which cuts images of one size into patches. (Zhai et al., arXiv 2303.15343.) */
export const {images: siglip, texts: siglipText} = siglipEncoders({
  name: 'Siglip',
  embedded: (net, config, embeddings, width, {pixels}) => {
    const {channels, patch, grid} = imageSizes(config, 16);
    const x = patches(net, nameOf(embeddings, 'patch_embedding'), {channels, width, size: patch}, pixels);
    const sequence = {grid, width, isFlat: true, tokens: [], positions: 'position_embedding.weight'};
    return patchSequence(net, embeddings, sequence, x);
  },
});
