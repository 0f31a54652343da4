import {GridPositionEmbedding} from '../layers/gridPositionEmbedding';
import {nameOf} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import {siglipEncoders} from './siglipEncoder';

/**
 * SigLIP 2 with images of any aspect ratio (NaFlex), which takes patches, a mask, and the rows and columns of each
 * image's patches. (Tschannen et al., arXiv 2502.14786.)
 */
export const {images: siglip2, texts: siglip2Text} = siglipEncoders({
  name: 'Siglip2',
  patchValues,
  embedded: (net, config, embeddings, width, {pixels, grids}) => {
    const x = net.dense(nameOf(embeddings, 'patch_embedding'), [patchValues(config), width], pixels);
    const name = nameOf(embeddings, 'position_embedding');
    const edge = edgeOf(config);
    net.expect(name, 'weight', [edge * edge, width], 'embeddings');
    return net.apply(name, [x, grids], () => new GridPositionEmbedding({edge, name}));
  },
});

function patchValues(config: HubConfig): number {
  return config.count('num_channels', 3) * config.count('patch_size', 16) ** 2;
}

/** The rows of the square grid that the table of positions is for. */
function edgeOf(config: HubConfig): number {
  const count = config.count('num_patches', 256);
  const edge = Math.floor(Math.sqrt(count));
  if (edge * edge !== count) {
    config.fault(`num_patches must be a square, such as 256, got ${count}.`);
  }
  return edge;
}
