import {registerGraphGradients} from './extensions/graph/gradients/graphGradients';
import './backends/backends';

// The door to graphs: importing it is what registers the layers that they are made of.

export {fromGraphModel, type GraphModelOptions} from './extensions/graph/import/fromGraphModel';
export {toGraphModel, type ToGraphModelOptions} from './extensions/graph/export/toGraphModel';
export {FusedConv2D, FusedDepthwiseConv2D} from './extensions/graph/layers/fusedConvolution';
export {
  type FragmentConstant,
  type FragmentTensor,
  GraphOp,
  type GraphFragment,
  type GraphOpArgs,
} from './extensions/graph/layers/graphOp';

registerGraphGradients();
