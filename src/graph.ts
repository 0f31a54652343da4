import {addRepair} from './backends/ensure';
import {ensureGraphGradients} from './backends/graphGradients';
import './backends/repairs';

// The door to graphs: importing it is what registers the layers that they are made of.

export {fromGraphModel, type GraphModelOptions} from './graphModel/fromGraphModel';
export {toGraphModel, type ToGraphModelOptions} from './graphModel/toGraphModel';
export {FusedConv2D, FusedDepthwiseConv2D} from './layers/fusedConvolution';
export {
  type FragmentConstant,
  type FragmentTensor,
  GraphOp,
  type GraphFragment,
  type GraphOpArgs,
} from './layers/graphOp';

addRepair(ensureGraphGradients);
