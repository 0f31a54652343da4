import {registerGraphGradients} from './extensions/graph/gradients/graphGradients';
import {registerHubRouter} from './extensions/graph/import/hubRouter';
import './backends/backends';

// The entry point for graph models. Importing it registers the layers that they are imported as.

export {fromGraphModel, type GraphModelOptions, type GraphPart} from './extensions/graph/import/fromGraphModel';
export {toGraphModel, type ToGraphModelOptions} from './extensions/graph/export/toGraphModel';

registerGraphGradients();
registerHubRouter();
