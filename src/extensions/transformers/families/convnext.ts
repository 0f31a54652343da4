import {type Architecture, HUB_ACTIVATIONS, nameOf, OF_IMAGES} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import {blocksOf, convolution, featureOutput, meanOfPositions, stagesOf} from './convolutions';
import {convNextBlocks, type ConvNextNames} from './convNextBlocks';
import {hasLayerScale, pairOf} from './patchBlocks';

/** ConvNeXt. (Liu et al., arXiv 2201.03545.) */
export const convnext = convNeXt({
  prefix: 'convnext',
  classes: {ConvNextModel: 'none', ConvNextForImageClassification: 'classes'},
  variantNames: config => ({scale: hasLayerScale(config) ? 'layer_scale_parameter' : undefined}),
});

/** ConvNeXt V2, with a normalization of responses instead of layer scale. (Woo et al., arXiv 2301.00808.) */
export const convnextV2 = convNeXt({
  prefix: 'convnextv2',
  classes: {ConvNextV2Model: 'none', ConvNextV2ForImageClassification: 'classes'},
  variantNames: () => ({response: 'grn'}),
});

const DEPTHS = [3, 3, 9, 3];
/** For all normalizations except the last, whatever the config says. */
const EPSILON = 1e-6;

/** The differences between both versions. */
interface Variant {
  prefix: string;
  classes: Architecture['classes'];
  variantNames: (config: HubConfig) => Pick<ConvNextNames, 'scale' | 'response'>;
}

function convNeXt({prefix, classes, variantNames}: Variant): Architecture {
  return {
    prefix,
    classes,
    ...OF_IMAGES,
    commonNames: {num_stages: 'num_hidden_layers'},
    blocks: config => blocksOf(config, DEPTHS),
    build: (net, config, {pixels}, purpose) => {
      const root = purpose.head === 'none' ? '' : prefix;
      const stages = stagesOf(config, 'hidden_sizes', {depths: DEPTHS, widths: [96, 192, 384, 768]});
      if (config.count('num_stages', 4) !== stages.length) {
        config.fault(`num_stages must be the number of entries in depths, ${stages.length}.`);
      }
      const activation = config.choice('hidden_act', HUB_ACTIVATIONS, 'gelu');
      const names: ConvNextNames = {
        ...variantNames(config),
        depthwise: 'dwconv',
        norm: 'layernorm',
        pointwise: ['pwconv1', 'pwconv2'],
        activation: 'act',
      };
      const patch = pairOf(config, 'patch_size', 4);
      const embeddings = nameOf(root, 'embeddings');
      const first = stages[0]?.width ?? 1;
      const stem = {
        channels: [config.count('num_channels', 3), first],
        size: patch,
        stride: patch,
        padding: 0,
      } as const;
      let x = convolution(net, nameOf(embeddings, 'patch_embeddings'), stem, pixels);
      x = net.layerNorm(nameOf(embeddings, 'layernorm'), first, EPSILON, [x]);
      let from = first;
      stages.forEach(({depth, width}, stage) => {
        const name = nameOf(root, 'encoder/stages', stage);
        if (stage > 0) {
          x = net.layerNorm(nameOf(name, 'downsampling_layer/0'), from, EPSILON, [x]);
          const halves = {channels: [from, width], size: 2, stride: 2, padding: 0} as const;
          x = convolution(net, nameOf(name, 'downsampling_layer/1'), halves, x);
        }
        x = convNextBlocks(net, nameOf(name, 'layers'), depth, {width, epsilon: EPSILON, activation}, names, x);
        from = width;
        net.stage(stage + 1, x);
      });
      const pooled: typeof meanOfPositions = (_, name, features) => {
        const mean = meanOfPositions(net, name, features);
        return net.layerNorm(nameOf(root, 'layernorm'), from, config.number('layer_norm_eps', 1e-12), [mean]);
      };
      return featureOutput(net, config, purpose, {width: from, pooled}, x);
    },
    uncomputed: /^layernorm\./,
  };
}
