import {registerGraphGradients} from './extensions/graph/gradients/graphGradients';
import './backends/backends';

// The entry point for graph models. Importing it registers the layers that they are imported as.

export {fromGraphModel, type GraphModelOptions, type GraphPart} from './extensions/graph/import/fromGraphModel';
export {toGraphModel, type ToGraphModelOptions} from './extensions/graph/export/toGraphModel';
export type {FusedConv2D, FusedDepthwiseConv2D} from './extensions/graph/layers/fusedConvolution';
export type {
  FragmentConstant,
  FragmentTensor,
  GraphFragment,
  GraphOp,
  GraphOpArgs,
} from './extensions/graph/layers/graphOp';

registerGraphGradients();
