// The entry point for federated learning: an adapted model as a node of a Flower server. It is experimental.

export {type Federation, joinFederation} from './extensions/federated/join';
export type {
  FederatedRound,
  FederationState,
  FederationSummary,
  JoinFederationOptions,
  RoundOutcome,
  RoundReport,
} from './extensions/federated/participation';
export {createNodeKey, type NodeKey, nodeKeyText, storedNodeKey} from './extensions/federated/nodeKey';
export type {ConfigValue, Metrics} from './extensions/federated/records';
export {frozenFingerprint} from './extensions/federated/sharedTensors';
