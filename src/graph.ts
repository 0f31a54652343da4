import {registerGraphGradients} from './graph/gradients/graphGradients';
import './kernels/backends';

// The door to graphs: importing it is what registers the layers that they are made of.

export {fromGraphModel, type GraphModelOptions} from './graph/import/fromGraphModel';
export {toGraphModel, type ToGraphModelOptions} from './graph/export/toGraphModel';
export {FusedConv2D, FusedDepthwiseConv2D} from './graph/layers/fusedConvolution';
export {
  type FragmentConstant,
  type FragmentTensor,
  GraphOp,
  type GraphFragment,
  type GraphOpArgs,
} from './graph/layers/graphOp';

registerGraphGradients();
